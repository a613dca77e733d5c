import type { Admission } from '../core/recovery.js';
import type { FeedPlace } from '../sse/feed.js';
import type { HeldHistory } from './catch-up.js';
import { ChannelFeed } from './channel-feed.js';
import type { ChannelRule } from './channel-rule.js';
import type { NativeReader } from './used-feed.js';
import type { Claim } from './claim.js';
import type { ClientFeed } from './client-feed.js';
import { enterHistory, enterLater } from './history-entrance.js';
import { startOf } from './history-place.js';
import type { HistoryPage } from './history-reads.js';
import { enterAnew, type Entrance } from './resume.js';
import type { Place } from './stream-form.js';

/** A channel or template of a client, without a history. */
export interface HeldChannel {
  readonly feed: ChannelFeed;
  /** The rule that granted it, if it is known. */
  rule: ChannelRule | undefined;
  /** The end of the feed's log when the client came. */
  readonly joined: number;
  /** Set until it has entered. */
  claim: Claim | undefined;
  readonly owner: string;
  /** Set once it has entered. */
  place: FeedPlace | NativeReader | undefined;
  admission: Admission | undefined;
}

/** A channel or template of a client. */
export type Held = HeldChannel | HeldHistory;

/** Call it when the feed is settled, in the turn in which the client enters. */
export type Enter = () => Entrance;

/** How many histories are read at a time for one client: a page may take as much memory as all that it may be sent at once. */
const READ_AT_ONCE = 4;
/** The start of a client whose position belongs to no history: what it has read is unknown. */
const NO_HISTORY = { epoch: '-', offset: 0 };

/** @param claim - how far the client says that it has read it @param owner - the only owner whose claims are accepted */
export function holdFeed(feed: ClientFeed, claim: Claim | undefined, owner: string): Held {
  if (feed instanceof ChannelFeed) {
    return { feed, rule: undefined, joined: feed.log.lastOffset, claim, owner, place: undefined, admission: undefined };
  }
  return {
    feed,
    rule: undefined,
    start: claim && (startOf(claim.proof, claim.offset) ?? NO_HISTORY),
    place: undefined,
  };
}

export function isOfChannel(held: Held): held is HeldChannel {
  return !isOfHistory(held);
}

export function isOfHistory(held: Held): held is HeldHistory {
  return 'start' in held;
}

/**
 * Finds the first pages for a client, up to as much as it may be sent at once; all else is read as the client takes it. Never rejects:
 * messages that cannot be read now are sent later, too. After a failed read it tries no other one, since the client waits: a store that
 * does not answer takes its time for each.
 *
 * @param maxBytes - how much it may be sent at once
 */
export async function findHistories(
  all: readonly HeldHistory[],
  maxBytes: number,
): Promise<(readonly [HeldHistory, Enter])[]> {
  const found: (readonly [HeldHistory, Enter])[] = [];
  let room = maxBytes;
  const rest = all.values();
  const work = async (): Promise<void> => {
    for (const held of rest) {
      const page = await firstPage(held, () => room > 0);
      room -= page?.missed.size ?? Infinity;
      const { feed, start } = held;
      found.push([held, () => (page === undefined ? enterLater(feed, start) : enterHistory(feed, start, page))]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(all.length, READ_AT_ONCE) }, work));
  return found;
}

/** @returns `undefined` if it cannot be read now, or if there is no room for what has to be read */
async function firstPage({ feed, start }: HeldHistory, hasRoom: () => boolean): Promise<HistoryPage | undefined> {
  try {
    await feed.whenKnown();
    return hasRoom() || feed.isNear(start) ? await feed.find(start) : undefined;
  } catch {
    return undefined;
  }
}

export function placeOf(held: Held): Place | undefined {
  const { name } = held.feed;
  if (isOfHistory(held)) {
    const at = held.place === undefined ? held.start : held.feed.positionOf(held.place);
    return typeof at === 'object' ? { name, ...at } : undefined;
  }
  return held.admission && { name, admission: held.admission, offset: held.feed.log.lastOffset };
}

/** Leaves out feeds beyond the size limit; quiet channels come before busy ones. */
export function within(
  maxBytes: number,
  entrances: readonly (readonly [Held, Entrance])[],
): readonly (readonly [Held, Entrance])[] {
  let room = maxBytes;
  const tooMuch = new Set<Held>();
  const sized = entrances.map(([held, entrance]) => ({ held, size: sizeOf(entrance) }));
  for (const { held, size } of sized.toSorted((a, b) => a.size - b.size)) {
    room -= size;
    if (room < 0) tooMuch.add(held);
  }
  if (tooMuch.size === 0) return entrances;
  return entrances.map(([held, entrance]) => [held, tooMuch.has(held) ? enterWithLess(held) : entrance]);
}

/** Enters without the missed messages; those of a history are sent later, as the client reads. */
function enterWithLess(held: Held): Entrance {
  return isOfHistory(held) ? enterLater(held.feed, held.start) : enterAnew(held, 'trimmed');
}

function sizeOf(entrance: Entrance): number {
  const { size } = entrance.missed;
  if (!('rest' in entrance)) return size;
  return entrance.rest.reduce((sum, { item }) => (item.kind === 'gap' ? sum : sum + item.bytes), size);
}
