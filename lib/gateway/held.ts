import type { Admission } from '../core/recovery.js';
import type { FeedPlace } from '../sse/feed.js';
import type { HeldHistory } from './catch-up.js';
import { ChannelFeed } from './channel-feed.js';
import type { NativeReader } from './used-feed.js';
import type { Claim } from './claim.js';
import type { ClientFeed } from './client-feed.js';
import { enterHistory, enterLater } from './history-entrance.js';
import { startOf } from './history-place.js';
import { enterAnew, type Entrance } from './resume.js';
import type { Place } from './stream-form.js';

/** A channel or template that a client has, without one history. */
export interface HeldChannel {
  readonly feed: ChannelFeed;
  /** How far the feed's log had come when the client came. */
  readonly joined: number;
  /** Until it has entered. */
  claim: Claim | undefined;
  readonly owner: string;
  /** Once it has entered. */
  place: FeedPlace | NativeReader | undefined;
  admission: Admission | undefined;
}

/** A channel or template that a client has. */
export type Held = HeldChannel | HeldHistory;

/** To be called in the turn in which the client enters, when the feed is settled. */
export type Enter = () => Entrance;

/** The start of a client that comes with a position of no history: what it has of the channel cannot be told. */
const NO_HISTORY = { epoch: '-', offset: 0 };

/** @param claim - how far the client says to have read it @param owner - whose claims are believed */
export function holdFeed(feed: ClientFeed, claim: Claim | undefined, owner: string): Held {
  if (feed instanceof ChannelFeed) {
    return { feed, joined: feed.log.lastOffset, claim, owner, place: undefined, admission: undefined };
  }
  return { feed, start: claim && (startOf(claim.proof, claim.offset) ?? NO_HISTORY), place: undefined };
}

export function isOfChannel(held: Held): held is HeldChannel {
  return !isOfHistory(held);
}

export function isOfHistory(held: Held): held is HeldHistory {
  return 'start' in held;
}

/** Never rejects: what cannot be known now is sent later. */
export async function findHistory({ feed, start }: HeldHistory): Promise<Enter> {
  try {
    const page = await feed.find(start);
    return () => enterHistory(feed, start, page);
  } catch {
    return () => enterLater(feed, start);
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

/** Leaves out what is too much to be sent at once: quiet channels come before busy ones. */
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

/** A history is sent later, as the client reads. */
function enterWithLess(held: Held): Entrance {
  return isOfHistory(held) ? enterLater(held.feed, held.start) : enterAnew(held, 'trimmed');
}

function sizeOf(entrance: Entrance): number {
  const { size } = entrance.missed;
  if (!('rest' in entrance)) return size;
  return entrance.rest.reduce((sum, { item }) => (item.kind === 'gap' ? sum : sum + item.bytes), size);
}
