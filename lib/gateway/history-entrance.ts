import type { GapReason, Position } from '../protocol/position.js';
import type { HistoryFeed, HistoryStart } from './history-feed.js';
import type { HistoryPage } from './history-reads.js';
import { ClientReplay } from './replays.js';

/** How a client enters, or continues on, the feed of a channel with history. */
export interface HistoryEntrance {
  readonly feed: HistoryFeed;
  /** Whether it came with a position in the channel, or requests earlier messages. */
  readonly isBack: boolean;
  /** Why messages are missing before {@link missed}. */
  readonly gap: GapReason | undefined;
  /** Right before {@link missed}, if the client cannot know that. */
  readonly from: Position | undefined;
  readonly missed: ClientReplay;
  /** The position directly after {@link missed}; `undefined` if it is not known yet. */
  readonly at: Position | undefined;
  /** Whether the client gets live messages now; otherwise more must be read for it. */
  readonly isWhole: boolean;
}

/** Call it when the feed is settled, in the turn in which the client enters or continues. */
export function enterHistory(
  feed: HistoryFeed,
  start: HistoryStart,
  page: HistoryPage,
  gap = page.gap,
): HistoryEntrance {
  const met = feed.meet(page);
  const missed = met?.missed ?? page.missed;
  const isMoved = typeof start !== 'object' || start.epoch !== page.from.epoch || gap !== undefined;
  // A new client may also get messages that arrived in the meantime.
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

/** The entrance of a client that gets its missed messages later. */
export function enterLater(feed: HistoryFeed, start: HistoryStart): HistoryEntrance {
  return {
    feed,
    isBack: start !== undefined,
    gap: undefined,
    from: undefined,
    missed: new ClientReplay(feed.name, []),
    at: typeof start === 'object' ? start : undefined,
    isWhole: false,
  };
}
