import type { FaultReader } from './fault-readers.js';
import { partOf, type Fault, type FaultKind } from './fault-schedule.js';
import { ReaderLog, type Ledger } from './ledger.js';

/** A deaf subscriber is found within 5 s; what is shorter than this is not even suspected. */
const SUSPECTED_AFTER_MS = 3_500;
/** How long a server that leaves answers at least for its clients that have not come back. */
const LEAVES_AFTER_MS = 4_000;
/** How long after a fault it may be told. */
const TOLD_WITHIN_MS = 30_000;
/** How often a template may lose messages while a sharded Cluster changes: each slot comes back by itself. */
const TEMPLATE_LOSSES = 10;
/** A fault as it was. */
export interface Inflicted {
  readonly fault: Fault;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Where a reader was sent. */
export interface Visit {
  readonly slot: number;
  readonly atMs: number;
}

/** What a run knows of its readers. */
export interface Scene {
  readonly ledger: Ledger;
  readonly readers: readonly FaultReader[];
  /** Of each reader. */
  readonly visits: readonly (readonly Visit[])[];
  readonly inflicted: readonly Inflicted[];
}

/** Notes whom a fault may have lost messages. Restarts in order, and what clients suffer, lose nothing. */
export function explain(scene: Scene, { kind, target }: Fault, fromMs: number, untilMs: number): void {
  const forMs = untilMs - fromMs;
  const part = partOf(kind);
  if (part === 'client' || kind === 'link-delay' || kind === 'redis-flush' || kind === 'redis-full') return;
  if (kind === 'redis-pause' && forMs < SUSPECTED_AFTER_MS) return;
  const until = untilMs + TOLD_WITHIN_MS;
  const isHit = (slot: number): boolean => part === 'redis' || target === -1 || target === slot;
  for (const log of scene.ledger.logs) {
    const [, slot] = /^node (\d)/.exec(log.reader) ?? [];
    if (slot === undefined) continue;
    const isDeaf = part !== 'node' || (kind === 'node-pause' && forMs >= SUSPECTED_AFTER_MS);
    if (isDeaf && isHit(Number(slot))) log.causes.push({ fromMs, untilMs: until, times: lossesOf(kind, log) });
  }
  for (const [client, reader] of scene.readers.entries()) {
    const visits = scene.visits[client]!;
    const before = visits.filter(({ atMs }) => atMs < fromMs);
    const since = visits.filter(({ atMs }) => atMs >= fromMs && atMs <= until);
    const openings = reader.openedAtMs.filter((atMs) => atMs >= fromMs && atMs <= until);
    if (kind === 'node-restart') {
      if (!needed(reader, before, fromMs).some(({ slot }) => isHit(slot))) continue;
      // A server that leaves waits for the clients that it has then, for a while.
      const isBack = since.some((visit) => visit.atMs < fromMs + LEAVES_AFTER_MS && !isBrokenOff(scene, client, visit));
      if (isBack && !isAway(scene, client, fromMs)) continue;
    } else if (
      part === 'node' &&
      ![...needed(reader, before, fromMs), ...before.filter(({ atMs }) => atMs > fromMs - 10_000)].some(({ slot }) =>
        isHit(slot),
      )
    ) {
      continue;
    }
    // What it could not be sent of the past where it came to, each time, and what was lost while it was there.
    for (const log of reader.logs.values()) {
      if (!(log instanceof ReaderLog)) continue;
      log.causes.push({ fromMs, untilMs: until, times: lossesOf(kind, log) + openings.length });
    }
  }
}

function lossesOf(kind: FaultKind, { name }: ReaderLog): number {
  return name.includes(':') && /^redis-(crash|reshard)$/.test(kind) ? TEMPLATE_LOSSES : 1;
}

/** Of the visits before a time, the one by which a client was open last, and later ones, which may have begun. */
function needed({ openedAtMs }: FaultReader, before: readonly Visit[], atMs: number): readonly Visit[] {
  const opened = openedAtMs.findLast((openedAt) => openedAt < atMs) ?? -Infinity;
  return before.slice(
    Math.max(
      before.findLastIndex((visit) => visit.atMs <= opened),
      0,
    ),
  );
}

/** Whether the network of a client failed before its stream was open after a visit. */
function isBrokenOff({ readers, inflicted }: Scene, client: number, { atMs }: Visit): boolean {
  const openedAt = readers[client]!.openedAtMs.find((each) => each > atMs) ?? Infinity;
  return inflicted.some(({ fault, fromMs }) => isCutOf(fault, readers, client) && fromMs >= atMs && fromMs < openedAt);
}

/** Whether the network of a client had failed, and the client was not back yet. */
function isAway({ readers, inflicted }: Scene, client: number, atMs: number): boolean {
  const openings = readers[client]!.openedAtMs;
  return inflicted.some(
    ({ fault, fromMs }) =>
      isCutOf(fault, readers, client) &&
      fromMs <= atMs &&
      !openings.some((openedAt) => openedAt > fromMs && openedAt < atMs),
  );
}

function isCutOf({ kind, target }: Fault, readers: readonly FaultReader[], client: number): boolean {
  return /^client-(cut|leave|half-open)$/.test(kind) && target % readers.length === client;
}
