import type { GapReason, Position } from '../protocol/position.js';
import type { HistoryFeed, HistoryStart } from './history-feed.js';
import type { HistoryPage } from './history-reads.js';
import { Replay } from './replays.js';

/** How a client enters the feed of a channel with history, or goes on to it. */
export interface HistoryEntrance {
  readonly feed: HistoryFeed;
  /** Whether it came with a place in the channel, or wants some of its past. */
  readonly isBack: boolean;
  /** Why messages are missing before {@link missed}. */
  readonly gap: GapReason | undefined;
  /** Right before {@link missed}, if the client cannot know that. */
  readonly from: Position | undefined;
  readonly missed: Replay;
  /** Right after {@link missed}; `undefined` if it is not known yet. */
  readonly at: Position | undefined;
  /** Whether the client goes on with what comes; else more is to be read for it. */
  readonly isWhole: boolean;
}

/** To be called when the feed is settled, and in the turn in which the client enters, or goes on. */
export function enterHistory(
  feed: HistoryFeed,
  start: HistoryStart,
  page: HistoryPage,
  gap = page.gap,
): HistoryEntrance {
  const met = feed.meet(page);
  const missed = met?.missed ?? page.missed;
  const isMoved = typeof start !== 'object' || start.epoch !== page.from.epoch || gap !== undefined;
  // Also somebody new may be sent what has come in the meantime.
  const isTold = start !== undefined || gap !== undefined || missed.entries.length > 0;
  return {
    feed,
    isBack: start !== undefined,
    gap,
    from: isMoved && isTold ? page.from : undefined,
    missed,
    at: met?.at ?? page.next,
    isWhole: met !== undefined,
  };
}

/** Of a client that is sent what it has missed later. */
export function enterLater(feed: HistoryFeed, start: HistoryStart): HistoryEntrance {
  return {
    feed,
    isBack: start !== undefined,
    gap: undefined,
    from: undefined,
    missed: new Replay(feed.name, []),
    at: typeof start === 'object' ? start : undefined,
    isWhole: false,
  };
}
