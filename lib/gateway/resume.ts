import { admissionOf, isOwedAll, merge, missedSince, type Admission } from '../core/recovery.js';
import type { Cut } from '../core/cut.js';
import type { GapReason } from '../protocol/position.js';
import type { Admissions } from './admission.js';
import type { ChannelFeed } from './channel-feed.js';
import { admissionFor, type Claim } from './claim.js';
import type { ClientEntry } from './client-message.js';
import type { HistoryEntrance } from './history-entrance.js';
import { ClientReplay, type Replays } from './replays.js';

/** How a client enters a feed: the messages that it gets first, and the position from which it reads on. */
export type Entrance = ChannelEntrance | HistoryEntrance;

/** How a client enters a feed without a history, whose messages only this node numbers. */
export interface ChannelEntrance {
  readonly feed: ChannelFeed;
  /** Entries of the log that it comes from, with the offsets of that log. */
  readonly missed: ClientReplay;
  /** Why messages are missing here, besides the gaps among the entries. */
  readonly gap: GapReason | undefined;
  /** Whether it is a returning client. */
  readonly isBack: boolean;
  /** Entries of the feed's own log, after `missed` and after {@link offset}. */
  readonly rest: readonly ClientEntry[];
  readonly offset: number;
  readonly admission: Admission;
}

/** A client that enters a feed. */
export interface Entering {
  readonly feed: ChannelFeed;
  /** The end of the feed's log when the client came. */
  readonly joined: number;
  /** How far it says that it has read, if it comes back. */
  readonly claim: Claim | undefined;
  /** The only owner whose positions are accepted; see `positionOwner`. */
  readonly owner: string;
}

/** Another node's log of a feed, shared by all clients that come from there. */
export interface OtherLog {
  /** The offset before its first entry. */
  readonly after: number;
  /** Its end. A client that has read more of it must not get these entries. */
  readonly end: number;
  readonly entries: readonly ClientEntry[];
  /** Decides which entries of the feed's own log they get. */
  readonly cut: Cut;
}

/** Enters without any missed messages. */
export function enterAnew({ feed, claim }: Entering, gap?: GapReason): ChannelEntrance {
  const missed = new ClientReplay(feed.name, []);
  return {
    feed,
    missed,
    gap,
    isBack: claim !== undefined,
    rest: [],
    offset: feed.log.lastOffset,
    admission: feed.admission,
  };
}

/** Enters again on the node that it left. Call it when the feed is settled, in the turn in which the client enters. */
export function enterAgain(entering: Entering, admissions: Admissions, replays: Replays): ChannelEntrance {
  const { feed, claim, owner } = entering;
  const { log, cuts, name } = feed;
  const { offset } = claim!;
  const admission = admissionFor(name, owner, claim!, admissions);
  let gap: GapReason | undefined;
  const read = (): ClientReplay => {
    const missed = missedSince(log, cuts, admission, offset, {});
    if (missed.found)
      return new ClientReplay(
        name,
        missed.entries.filter((entry) => isCarried(feed, entry)),
      );
    gap = missed.reason;
    return new ClientReplay(name, []);
  };
  // Clients at the same offset have missed the same entries, unless a cut applies.
  const isShared = isOwedAll(log, admission, offset) && isKept(feed, offset);
  const missed = isShared ? replays.get(feed, log.lastOffset, offset, read) : read();
  if (gap !== undefined) return enterAnew(entering, gap);
  return { feed, missed, gap, isBack: true, rest: [], offset: log.lastOffset, admission: admission! };
}

/** Comes from another node, which has confirmed its claim. Call it like {@link enterAgain}, when the feed is settled. */
export function enterFrom(
  other: OtherLog,
  except: ReadonlySet<number>,
  entering: Entering,
  replays: Replays,
): ChannelEntrance {
  const { feed, joined, claim } = entering;
  const { log, cuts, name } = feed;
  const { cut, after, entries } = other;
  const { offset } = claim!;
  if (offset < after) return enterAnew(entering, 'trimmed');
  const owed = (entry: ClientEntry): boolean =>
    entry.offset > offset && !except.has(entry.offset) && isCarried(feed, entry);
  const read = (): ClientReplay => new ClientReplay(name, entries.filter(owed));
  const missed = except.size === 0 ? replays.get(other, 0, offset, read) : read();
  const here = log.read({ epoch: log.epoch, offset: cut.from });
  const merged = merge({ found: true, entries: missed.entries }, cut, here, joined);
  const admission = admissionOf(merged, cut, joined, log, cuts);
  const rest = merged.rest.filter((entry) => isCarried(feed, entry));
  return { feed, missed, gap: merged.gap, isBack: true, rest, offset: merged.offset, admission };
}

function isKept({ log }: ChannelFeed, offset: number): boolean {
  return offset >= log.forgottenOffset && offset <= log.lastOffset;
}

// Later definitions apply to earlier entries, too.
function isCarried(feed: ChannelFeed, { item }: ClientEntry): boolean {
  return item.kind === 'gap' || feed.carries(item.channel);
}
