import type { Hub } from '../core/hub.js';
import { isTemplate, quote } from '../protocol/channel-name.js';
import type { ChannelAnswer, ReplayAnswer } from '../protocol/gateway.js';
import { MAX_LISTENER_LENGTH } from '../protocol/gateway.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { MAX_EPOCH_LENGTH, type Position } from '../protocol/position.js';
import { readName, readText, readTuple, readWholeNumber } from '../protocol/wire-reader.js';
import type { Decisions } from './channel-decisions.js';
import { claimOf, type Claim } from './claim.js';
import { claimedBy, startOf } from './history-place.js';

/** A client's request for earlier messages of a channel. */
export interface RequestedReplay {
  readonly channel: string;
  /** A number of last messages, or the position before the first one. */
  readonly start: number | Position;
  /** The listener that it is for; absent: all readers of the channel. */
  readonly listener: string | undefined;
}

/** The earlier messages of a channel for one listener of a client. */
export type ListenerReplay = RequestedReplay & { readonly listener: string };

/** The earlier messages for listeners of a client. */
export interface ListenerReplays {
  readonly replays: readonly ListenerReplay[];
  /** The answers to all requests. */
  readonly replayAnswers: readonly ReplayAnswer[];
}

/** The granted parts of a client's request. */
export interface Granted extends ListenerReplays, Decisions {
  /** How far it says that it has read them, or where it begins. */
  readonly claims: ReadonlyMap<string, Claim>;
}

/** Decides which earlier messages a client may read. @param decisions - about the requested channels */
export function grantReplays(
  hub: Hub,
  { answers, rules }: Decisions,
  claims: ReadonlyMap<string, Claim>,
  requested: readonly RequestedReplay[],
): Granted {
  if (requested.length === 0) return { answers, rules, claims, replays: [], replayAnswers: [] };
  const refused = new Set(answers.filter(({ error }) => error !== undefined).map(({ channel }) => channel));
  const faults = new Map<string, string>();
  const all = new Map(claims);
  const replays: ListenerReplay[] = [];
  const replayAnswers: ReplayAnswer[] = [];
  for (const { channel, start, listener } of requested) {
    if (refused.has(channel)) continue;
    const message = faultOf(hub, channel, start);
    if (listener === undefined) {
      if (message !== undefined) faults.set(channel, message);
      else if (!all.has(channel)) all.set(channel, claimOf(claimedBy(start)));
    } else {
      replayAnswers.push(message === undefined ? { listener } : { listener, error: 'CONFIGURATION', message });
      if (message === undefined) replays.push({ channel, start: startIn(start), listener });
    }
  }
  const granted = answers.map((answer): ChannelAnswer => {
    const message = faults.get(answer.channel);
    return message === undefined ? answer : { channel: answer.channel, error: 'CONFIGURATION', message };
  });
  return { answers: granted, rules, claims: all, replays, replayAnswers };
}

/** The replay as it goes to the node that holds the connection. */
export function writeReplay({ channel, listener, start }: ListenerReplay): unknown {
  const { epoch, offset } = claimedBy(start);
  return [channel, listener, epoch, offset];
}

/** @throws InvalidMessageError for a value that {@link writeReplay} cannot have produced */
export function readListenerReplay(value: unknown, path: string): ListenerReplay {
  const [channel, listener, epoch, offset] = readTuple(value, path, 4);
  const start = startOf(readText(epoch, path, MAX_EPOCH_LENGTH), readWholeNumber(offset, path));
  if (start === undefined) throw new InvalidMessageError(`${path} begins nowhere in a history`);
  return { channel: readName(channel, path), listener: readText(listener, path, MAX_LISTENER_LENGTH), start };
}

/** The start with the epoch of the history instead of the form for clients. */
function startIn(start: number | Position): number | Position {
  const { epoch, offset } = claimedBy(start);
  return startOf(epoch, offset) ?? start;
}

function faultOf(hub: Hub, channel: string, start: number | Position): string | undefined {
  if (isTemplate(channel)) return `"replay" needs one channel, and ${quote(channel)} is a template`;
  const history = hub.historyOf(hub.heardUnder(channel));
  if (history === undefined || !hub.keepsHistories) {
    return `"replay" needs a channel with history; ${quote(channel)} keeps none`;
  }
  if (typeof start !== 'number' || start <= history.maxMessages) return undefined;
  return `"replay" may be at most ${history.maxMessages}, as many messages as channel ${quote(channel)} keeps, not ${start}`;
}
