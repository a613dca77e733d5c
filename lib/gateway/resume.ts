import { admissionOf, isOwedAll, merge, missedSince, type Admission } from '../core/recovery.js';
import type { Cut } from '../core/cut.js';
import type { GapReason } from '../protocol/position.js';
import type { Admissions } from './admission.js';
import type { ChannelFeed } from './channel-feed.js';
import { admissionFor, type Claim } from './claim.js';
import type { ClientEntry } from './client-message.js';
import type { HistoryEntrance } from './history-entrance.js';
import { Replay, type Replays } from './replays.js';

/** How a client enters a feed: what it is sent first, and from where it reads on. */
export type Entrance = ChannelEntrance | HistoryEntrance;

/** How a client enters a feed of messages that only this node numbers. */
export interface ChannelEntrance {
  readonly feed: ChannelFeed;
  /** Of the log that it comes from, with the offsets of that. */
  readonly missed: Replay;
  /** Why messages are missing here, beside the gaps among the entries. */
  readonly gap: GapReason | undefined;
  /** Whether it came back. */
  readonly isBack: boolean;
  /** Of the feed's own log: after `missed`, and after {@link offset}. */
  readonly rest: readonly ClientEntry[];
  readonly offset: number;
  readonly admission: Admission;
}

/** A client that enters a feed. */
export interface Entering {
  readonly feed: ChannelFeed;
  /** How far the feed's log had come when the client came. */
  readonly joined: number;
  /** What it says to have read, if it comes back. */
  readonly claim: Claim | undefined;
  /** Whose positions are believed; see `positionOwner`. */
  readonly owner: string;
}

/** What another node knows of a feed, once for all clients that come from there. */
export interface OtherLog {
  /** After which offset its entries begin. */
  readonly after: number;
  /** How far it had come. Whoever has read more of it must not be given this. */
  readonly end: number;
  readonly entries: readonly ClientEntry[];
  /** Which entries of the feed's own log are for them. */
  readonly cut: Cut;
}

/** Without anything that was missed. */
export function enterAnew({ feed, claim }: Entering, gap?: GapReason): ChannelEntrance {
  const { log } = feed;
  const { number, lastOffset: offset } = log;
  const missed = new Replay(feed.name, []);
  return {
    feed,
    missed,
    gap,
    isBack: claim !== undefined,
    rest: [],
    offset,
    admission: { log: number, admitted: offset },
  };
}

/** Back on the node that it has left. To be called when the feed is settled, and in the turn in which the client enters. */
export function enterAgain(entering: Entering, admissions: Admissions, replays: Replays): ChannelEntrance {
  const { feed, claim, owner } = entering;
  const { log, cuts, name } = feed;
  const { offset } = claim!;
  const admission = admissionFor(name, owner, claim!, admissions);
  let gap: GapReason | undefined;
  const read = (): Replay => {
    const missed = missedSince(log, cuts, admission, offset, {});
    if (missed.found)
      return new Replay(
        name,
        missed.entries.filter((entry) => isCarried(feed, entry)),
      );
    gap = missed.reason;
    return new Replay(name, []);
  };
  // Whoever has read as far as another one has missed the same, unless it is counted by a cut.
  const isShared = isOwedAll(log, admission, offset) && isKept(feed, offset);
  const missed = isShared ? replays.get(feed, log.lastOffset, offset, read) : read();
  if (gap !== undefined) return enterAnew(entering, gap);
  return { feed, missed, gap, isBack: true, rest: [], offset: log.lastOffset, admission: admission! };
}

/** Come from another node, which has let it in. As {@link enterAgain}, when the feed is settled. */
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
  const read = (): Replay => new Replay(name, entries.filter(owed));
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

// What was defined since then decides about what was kept before too.
function isCarried(feed: ChannelFeed, { item }: ClientEntry): boolean {
  return item.kind === 'gap' || feed.carries(item.channel);
}
