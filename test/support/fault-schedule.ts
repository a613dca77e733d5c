import { randomFrom, type Random } from './random.js';
import type { Way } from '../../lib/testing/faulty-link.js';

/** All that goes wrong in a {@link Schedule}. */
export const FAULT_KINDS = [
  /** Redis ends in order, and starts again with what it has on disk. */
  'redis-restart',
  /** Redis is killed, and starts again with what it has on disk. */
  'redis-kill',
  /** Redis is killed, and starts again empty. */
  'redis-wipe',
  /** `FLUSHALL`. */
  'redis-flush',
  /** A script runs and runs, so that Redis refuses all else, until it is killed; then Redis forgets all scripts. */
  'redis-busy',
  /** Redis has no more memory, and takes no new data, for a while. */
  'redis-full',
  /** Redis is stopped, and goes on. */
  'redis-pause',
  /** `CLIENT KILL TYPE pubsub`. */
  'redis-kill-pubsub',
  /** Connections of a node with Redis break; new ones are refused for a while. */
  'link-cut',
  /** Connections of a node with Redis stay open and carry nothing any more one way, or both. */
  'link-half-open',
  'link-delay',
  /** A node is killed; another takes its place. */
  'node-kill',
  'node-pause',
  /** A node is told to leave (SIGTERM); another takes its place. */
  'node-restart',
  /** Connections of a client break; new ones are refused for a while. */
  'client-cut',
  /** The same, but the server does not get to know that the client has gone. */
  'client-leave',
  /** Connections of a client stay open and bring nothing any more. */
  'client-half-open',
  'client-delay',
] as const;

type DrawnKind = (typeof FAULT_KINDS)[number];

/**
 * Connections of a node with Redis carry nothing for a while, one way or both, and then all that was sent, even if the node has given them up. Not
 * beside other faults of servers: a server that registers again when late posts arrive may not have heard that they are recalled.
 */
type LateKind = 'link-stall';

/** Also what only other brokers than a single Redis do: another server is the master now, by plan or since the former one was killed; slots move between members. */
export type FaultKind = DrawnKind | LateKind | 'redis-failover' | 'redis-crash' | 'redis-reshard';

/** Whether Redis forgets all histories by it. */
export function isWipe(kind: FaultKind): boolean {
  return kind === 'redis-wipe' || kind === 'redis-flush';
}

/** What a fault of this kind befalls. */
export function partOf(kind: FaultKind): 'redis' | 'link' | 'node' | 'client' {
  return kind.split('-')[0] as ReturnType<typeof partOf>;
}

/** One fault, at a time. */
export interface Fault {
  readonly kind: FaultKind;
  /** Milliseconds since the schedule began. */
  readonly atMs: number;
  readonly forMs: number;
  /** Which node or client; -1: all of them. */
  readonly target: number;
  /** Which way a half-open connection is silent: to the server, to the client, or both. */
  readonly way: Way | 'both';
  /** Which of the connections of a link; none: all of them. */
  readonly connection: number | undefined;
}

/** Faults in the order of their times. The same seed gives the same ones. */
export interface Schedule {
  readonly seed: number;
  readonly faults: readonly Fault[];
}

const NODES = 3;
const CLIENTS = 9;
/** Within this time each fault begins. */
const LENGTH_MS = 6_000;
const SERVER_KINDS = FAULT_KINDS.filter((kind) => !kind.startsWith('client-'));
/** How long faults of a kind last, in milliseconds: the shortest and the longest. */
const LENGTHS: Readonly<Record<DrawnKind | LateKind, readonly [number, number]>> = {
  'redis-restart': [0, 1_500],
  'redis-kill': [0, 2_500],
  'redis-wipe': [0, 1_500],
  'redis-flush': [0, 0],
  'redis-busy': [200, 1_500],
  'redis-full': [200, 3_000],
  'redis-pause': [200, 5_500],
  'redis-kill-pubsub': [0, 0],
  'link-cut': [0, 3_000],
  'link-half-open': [500, 6_000],
  'link-delay': [1_000, 4_000],
  // Longer than it takes until a connection is given up.
  'link-stall': [3_000, 6_000],
  'node-kill': [0, 2_000],
  'node-pause': [300, 5_000],
  'node-restart': [0, 1_000],
  'client-cut': [0, 4_000],
  'client-leave': [500, 4_000],
  'client-half-open': [1_000, 5_000],
  'client-delay': [500, 3_000],
};
/** Cuts of clients that are longer than what a server waits for when it leaves. */
const LONG_CUT_MS = [6_000, 12_000] as const;

/** The kind that a schedule is about is the next one with each seed, so that some seeds in a row have them all. */
export function scheduleOf(seed: number): Schedule {
  return draw(seed, (fault, random) => {
    fault(SERVER_KINDS[seed % SERVER_KINDS.length]!, 300);
    for (let more = random(3); more > 0; more--) fault(SERVER_KINDS[random(SERVER_KINDS.length)]!, 300);
  });
}

/** A schedule of late posts. */
export function lateScheduleOf(seed: number): Schedule {
  return draw(seed, (fault) => fault('link-stall', 300));
}

/** @param ofServers - draws the faults of servers */
function draw(
  seed: number,
  ofServers: (fault: (kind: DrawnKind | LateKind, fromMs: number) => void, random: Random) => void,
): Schedule {
  const random = randomFrom(seed * 7_919 + 17);
  const faults: Fault[] = [];
  const fault = (kind: DrawnKind | LateKind, fromMs: number): void => {
    const part = partOf(kind);
    const [shortest, longest] = kind === 'client-cut' && random(8) === 0 ? LONG_CUT_MS : LENGTHS[kind];
    const drawn: Fault = {
      kind,
      atMs: fromMs + random(LENGTH_MS - fromMs),
      forMs: shortest + random(longest - shortest + 1),
      target: targetOf(random, part === 'client' ? CLIENTS : NODES, part === 'link' && random(4) === 0),
      way: (['up', 'down', 'both'] as const)[random(3)]!,
      connection: part === 'link' && random(2) === 0 ? random(2) : undefined,
    };
    if (!faults.some((other) => isInTheWay(other, drawn))) faults.push(drawn);
  };
  ofServers(fault, random);
  for (let more = 3 + random(6); more > 0; more--) fault(clientKind(random), 0);
  return { seed, faults: faults.toSorted((a, b) => a.atMs - b.atMs) };
}

function targetOf(random: Random, count: number, isForAll: boolean): number {
  const one = random(count);
  return isForAll ? -1 : one;
}

function clientKind(random: Random): DrawnKind {
  return (['client-cut', 'client-cut', 'client-cut', 'client-leave', 'client-half-open', 'client-delay'] as const)[
    random(6)
  ]!;
}

/** Whether two faults of one thing would overlap; nodes and links of different numbers do not meet. */
function isInTheWay(one: Fault, other: Fault): boolean {
  const part = partOf(one.kind);
  if (part !== partOf(other.kind)) return false;
  if (one.target !== other.target && one.target !== -1 && other.target !== -1 && part !== 'redis') return false;
  return one.atMs <= other.atMs + other.forMs + 500 && other.atMs <= one.atMs + one.forMs + 500;
}
