import type { Position } from 'nestjs-messaging';
import type { Finding, LedgerCounts } from './ledger.js';
import { HistoryOrder, type Gap, type Placed } from './history-order.js';

/** How the checker judges a reader of channels with history. */
export interface HistoryLogOptions {
  /**
   * It reads a template as a whole: its gaps name no channel, so they may belong to another channel than the checked one. On
   * servers they still need a cause; clients have one if their former server is gone.
   */
  readonly isTemplate?: boolean;
}

/** One reader, and everything that it received of channels with history, in order. */
export class HistoryLog {
  readonly entries: (Placed | Gap)[] = [];
  readonly #last = new Map<string, number>();
  readonly #position = new Map<string, Position>();
  hasEnded = false;

  /**
   * @param sinceMs - posts from then on must reach it
   */
  constructor(
    readonly reader: string,
    readonly name: string,
    readonly hears: (channel: string) => boolean,
    readonly sinceMs: number,
    readonly options: HistoryLogOptions = {},
  ) {}

  /** @param position - of the message, if its reader learns it */
  message(poster: string, channel: string, n: number, atMs: number, position?: Position): void {
    this.entries.push({ channel, key: `${poster} ${n}`, atMs, position });
    this.#last.set(`${poster} ${channel}`, Math.max(n, this.last(poster, channel)));
    if (position) this.#position.set(channel, position);
  }

  gap(reason: string, atMs: number, position?: Position): void {
    this.entries.push({ reason, atMs, position });
  }

  /** The highest number that it received of a poster on a channel. */
  last(poster: string, channel: string): number {
    return this.#last.get(`${poster} ${channel}`) ?? 0;
  }

  /** Where its successor continues. */
  position(channel: string): Position | undefined {
    return this.#position.get(channel);
  }
}

/** A post as its poster knows it. */
interface Posted {
  readonly poster: string;
  readonly n: number;
  readonly atMs: number;
  readonly isAccepted: boolean;
}

/** The parts of a channel that are checked together. */
interface Channel {
  readonly name: string;
  readonly order: HistoryOrder;
  readonly posted: readonly Posted[];
  readonly maxMessages: number;
}

const NO_COUNTS: LedgerCounts = {
  received: 0,
  told: 0,
  silent: 0,
  doubled: 0,
  disorder: 0,
  gaps: 0,
  idleGaps: 0,
  falseGaps: 0,
};

/**
 * Follows every message of channels with history. All readers must receive the messages in one order, that of the offsets, each
 * once and without a hole, from where they begin. A gap is allowed only if a wiped Redis has lost messages, or if
 * more were posted than the history keeps; it must cover exactly the missing ones. Posts answered with `true` must be in the
 * order, unless they were wiped; posts answered with `false` are there once, or not at all.
 */
export class HistoryLedger {
  readonly logs: HistoryLog[] = [];
  startMs = 0;
  /** How often histories were wiped during the readers' time, or may have been. */
  wipes = 0;
  /** Whether an earlier run has wiped them: until servers have looked again, the next outage costs a template a gap. */
  wasWiped = false;
  /** Whether another Redis may have taken over without the tail. */
  canBranch = false;
  readonly #posted = new Map<string, Posted[]>();
  readonly #last = new Map<string, number>();

  /** @param maxMessages - how many messages each channel keeps at least */
  constructor(private readonly maxMessages: (channel: string) => number) {}

  add(log: HistoryLog): HistoryLog {
    this.logs.push(log);
    return log;
  }

  posted(poster: string, channel: string, n: number, atMs: number, isAccepted: boolean): void {
    let posted = this.#posted.get(channel);
    if (!posted) this.#posted.set(channel, (posted = []));
    posted.push({ poster, n, atMs, isAccepted });
    if (isAccepted) this.#last.set(`${poster} ${channel}`, Math.max(n, this.last(poster, channel)));
  }

  /** The highest number of a poster on a channel that was answered with `true`. */
  last(poster: string, channel: string): number {
    return this.#last.get(`${poster} ${channel}`) ?? 0;
  }

  check(): { readonly findings: Finding[]; readonly counts: LedgerCounts } {
    const findings: Finding[] = [];
    const counts = { ...NO_COUNTS };
    const names = new Set(this.#posted.keys());
    for (const { entries } of this.logs) for (const entry of entries) if ('key' in entry) names.add(entry.channel);
    for (const name of names) {
      const logs = this.logs.filter(({ hears }) => hears(name));
      const order = new HistoryOrder(
        logs.map(({ entries }) => entries.filter((entry) => !('key' in entry) || entry.channel === name)),
        this.canBranch,
      );
      const posted = (this.#posted.get(name) ?? []).toSorted((a, b) => a.n - b.n);
      const channel = { name, order, posted, maxMessages: this.maxMessages(name) };
      findings.push(...this.checkChannel(channel));
      for (const log of logs) new LogCheck(log, channel, findings, counts, this).check();
    }
    return { findings, counts };
  }

  /** The errors that concern all readers. */
  private checkChannel({ name, order, posted }: Channel): Finding[] {
    const findings: Finding[] = order.conflicts.map((what) => ({ kind: 'doubled', reader: 'everybody', name, what }));
    const find = (kind: Finding['kind'], what: string): number =>
      findings.push({ kind, reader: 'everybody', name, what });
    if (order.epochs.length > 1 + this.wipes) {
      find('needless loss', `the history began ${order.epochs.length} times, and was wiped ${this.wipes} times`);
    }
    for (const poster of new Set(posted.map((each) => each.poster))) {
      const own = posted.filter((each) => each.poster === poster);
      const ranks = own.map(({ n }) => order.rankOf(`${poster} ${n}`));
      let highest = -1;
      for (const [index, rank] of ranks.entries()) {
        const { n, isAccepted } = own[index]!;
        if (rank === undefined) {
          if (isAccepted && !this.mayBeGone(order, ranks, index)) find('lost', `${poster} ${n} was answered true`);
          continue;
        }
        if (rank < highest) find('disorder', `${poster} ${n} stands before earlier ones of its poster`);
        highest = Math.max(highest, rank);
      }
    }
    return findings;
  }

  /**
   * Whether no reader could read a post between its poster's known ones: the history was wiped there, or dropped
   * messages before any reader was back to read them.
   */
  private mayBeGone(order: HistoryOrder, ranks: readonly (number | undefined)[], index: number): boolean {
    const before = ranks.slice(0, index).findLast((rank) => rank !== undefined);
    const behind = ranks.slice(index + 1).find((rank) => rank !== undefined);
    if (order.hasBranched(before ?? 0, behind ?? Infinity)) return true;
    if ((before === undefined || behind === undefined) && this.wipes > 0) return true;
    const isOfTwo = before !== undefined && behind !== undefined && order.epochAt(before) !== order.epochAt(behind);
    return isOfTwo || order.hasUnseen(before ?? 0, behind ?? order.end ?? 0);
  }
}

const NONE_UNSEEN = { count: 0, isTold: false };

/** One reader's messages of one channel. */
class LogCheck {
  private last: number | undefined = undefined;
  /** The gaps since the last message. */
  private gaps: Gap[] = [];
  private readonly had = new Set<string>();
  /** Messages since the last one with a place, and whether a gap preceded any of them. */
  private unseen = NONE_UNSEEN;
  /**
   * Where the last message may stand instead, after a wipe: it was tried again, its reader learns no positions, and a gap before it did
   * not say whether the history began anew.
   */
  private orElse: number | undefined;

  constructor(
    private readonly log: HistoryLog,
    private readonly channel: Channel,
    private readonly findings: Finding[],
    private readonly counts: { -readonly [Count in keyof LedgerCounts]: number },
    private readonly ledger: HistoryLedger,
  ) {}

  check(): void {
    const { entries, hasEnded } = this.log;
    for (const entry of entries) {
      if (!('key' in entry)) this.gaps.push(entry);
      else if (entry.channel === this.channel.name) this.take(entry);
    }
    // Posts answered with `false` at the end may arrive at any time, and nothing waits for them.
    const { order, posted } = this.channel;
    const ranks = posted.flatMap(({ poster, n, isAccepted }) =>
      isAccepted ? (order.rankOf(`${poster} ${n}`) ?? []) : [],
    );
    const end = Math.max(this.last ?? 0, ...ranks);
    if (!hasEnded && order.end !== undefined) this.step(end + 1, undefined);
    else this.counts.gaps += this.gaps.length;
  }

  private take(message: Placed): void {
    this.counts.received++;
    const { order } = this.channel;
    const { key, position } = message;
    // After a wipe, it belongs to the history that began then.
    const after = this.gaps.some(({ reason }) => reason === 'epoch') ? Infinity : (this.last ?? 0);
    const rank = position ? order.rankAt(position) : this.rankOf(key, after);
    // A reader without positions may have it from either branch, so it conflicts with neither.
    if (
      order.isLost(message) &&
      (rank === undefined || message.position !== undefined || rank !== (this.last ?? 0) + 1)
    )
      return;
    const isWiped = this.ledger.wipes > 0;
    if (rank === undefined && position === undefined && (isWiped || order.hasUnseen(this.last ?? 0, order.end ?? 0)))
      return this.takeUnseen(message, isWiped);
    if (rank === undefined)
      return this.find('disorder', `${message.key} has no place in the order of the others`, message);
    if (this.last !== undefined && rank <= this.last) {
      const isDoubled = this.had.has(message.key);
      this.counts[isDoubled ? 'doubled' : 'disorder']++;
      return this.find(isDoubled ? 'doubled' : 'disorder', `${message.key} at ${this.placeOf(rank)}`, message);
    }
    this.had.add(message.key);
    const orElse = this.orElseOf(key, rank);
    this.step(rank, message);
    this.last = rank;
    this.orElse = position ? undefined : orElse;
  }

  /** The place of a message of a reader without positions. */
  private rankOf(key: string, after: number): number | undefined {
    const rank = this.channel.order.rankOf(key, after);
    const isNext = this.gaps.length > 0 || rank === (this.last ?? 0) + 1;
    return isNext ? rank : (this.nextOrElse(key) ?? rank);
  }

  /** See {@link orElse}. */
  private orElseOf(key: string, rank: number): number | undefined {
    if (this.gaps.length === 0) return this.nextOrElse(key);
    const other = this.channel.order.rankOf(key, rank)!;
    return other > rank ? other : undefined;
  }

  private nextOrElse(key: string): number | undefined {
    const { orElse } = this;
    return orElse !== undefined && this.channel.order.rankOf(key, orElse) === orElse + 1 ? orElse + 1 : undefined;
  }

  /**
   * Accepts a message that the history dropped, or lost, before any reader with positions had it. The losses around it have a gap each.
   *
   * @param isWiped - whether it may have no place at all
   */
  private takeUnseen(message: Placed, isWiped: boolean): void {
    const { gaps, had } = this;
    if (had.has(message.key)) return this.find('doubled', message.key, message);
    had.add(message.key);
    if (gaps.length > 1) this.find('doubled gap', `${gaps.length} gaps of one loss before ${message.key}`, message);
    this.counts.gaps += gaps.length;
    this.gaps = [];
    this.unseen = { count: this.unseen.count + Number(!isWiped), isTold: this.unseen.isTold || gaps.length > 0 };
  }

  /** Continues to the message of a rank; without one, to the end. */
  private step(rank: number, message: Placed | undefined): void {
    const { gaps, unseen, orElse } = this;
    this.gaps = [];
    this.unseen = NONE_UNSEEN;
    this.counts.gaps += gaps.length;
    if (gaps.length === 0 && orElse !== undefined && orElse < rank && rank !== this.last! + 1) this.last = orElse;
    const first = this.last === undefined ? this.begin(rank) : this.last + 1;
    // The places of unseen messages are unknown: if a gap was before one, no more may be missing after it.
    const missing = gaps.length === 0 && unseen.isTold ? 0 : Math.max(0, rank - first - unseen.count);
    if (missing > 0) {
      if (gaps.length === 0) {
        this.counts.silent += missing;
        return this.find('lost', `${missing} from ${this.placeOf(first)} to ${this.placeOf(rank - 1)}`, message);
      }
      this.counts.told += missing;
    }
    if (this.log.options.isTemplate === true) {
      if (missing === 0) this.counts.idleGaps += gaps.length;
      const isOfServer = !/^(client|native) /.test(this.log.reader);
      if (
        isOfServer &&
        gaps.length > 0 &&
        this.ledger.wipes === 0 &&
        !this.ledger.wasWiped &&
        missing < this.channel.maxMessages
      )
        this.findCauseless(gaps, message);
      return;
    }
    this.judge(gaps, rank, missing, message);
  }

  /** @returns the first rank that it must have, of those missing before its first message */
  private begin(rank: number): number {
    const { order, posted } = this.channel;
    // The ranks below may have been wiped.
    const unseen = this.ledger.wipes > 0 ? rank : order.unseenBelow(rank);
    const owed = posted.flatMap(({ poster, n, atMs, isAccepted }) =>
      atMs >= this.log.sinceMs ? [order.rankOf(`${poster} ${n}`) ?? (isAccepted ? unseen : rank)] : [],
    );
    const first = Math.min(rank, ...owed);
    // As in docs/delivery.md for a channel without any post: it has no epoch that could change.
    return this.ledger.wipes > 0 ? Math.max(first, order.beginningOf(rank)) : first;
  }

  /** Whether the gaps before a message report exactly the messages missing there, once. */
  private judge(gaps: readonly Gap[], rank: number, missing: number, message: Placed | undefined): void {
    if (gaps.length === 0) return;
    const { order, maxMessages } = this.channel;
    const { last } = this;
    const isWiped = last === undefined ? this.ledger.wipes > 0 : order.epochAt(last) < order.epochAt(rank);
    const strange = gaps.filter(({ reason }) => reason !== 'epoch' && reason !== 'trimmed');
    if (missing === 0) this.counts.idleGaps += gaps.length;
    if ((missing === 0 && !isWiped) || strange.length > 0) {
      this.counts.falseGaps += gaps.length;
      return this.find('false gap', `${gaps.map(({ reason }) => reason).join(', ')}; ${missing} are missing`, message);
    }
    // Messages since the last wipe are missing only if there were more than the history keeps.
    const kept = rank - (isWiped || last === undefined ? order.beginningOf(rank) : last + 1);
    const isTrimmed = kept > 0 && order.highestAt(message?.atMs ?? Infinity) - rank >= maxMessages - 1;
    if (kept > 0 && missing > 0 && !isTrimmed) {
      this.find('needless loss', `${missing} before ${this.placeOf(rank)}, though they are kept`, message);
    }
    if (gaps.length > (isWiped ? this.ledger.wipes : 0) + (isTrimmed ? 1 : 0)) {
      this.find('doubled gap', `${gaps.length} gaps of one loss before ${this.placeOf(rank)}`, message);
    }
    const position = gaps.at(-1)?.position;
    // The history after a wipe had no post yet.
    if (position === undefined || message === undefined || position.epoch === '') return;
    if (order.rankAt(position) === rank - 1) return;
    this.find('false gap', `goes on at ${position.epoch}:${position.offset}, then ${this.placeOf(rank)}`, message);
  }

  /** Of a template: nothing was wiped, and no channel received more than the history keeps. */
  private findCauseless(gaps: readonly Gap[], message: Placed | undefined): void {
    this.counts.falseGaps += gaps.length;
    this.find(
      'false gap',
      `${gaps.map(({ reason }) => reason).join(', ')} of a template, and nothing was wiped`,
      message,
    );
  }

  private placeOf(rank: number): string {
    return this.channel.order.placeOf(rank);
  }

  private find(kind: Finding['kind'], what: string, message?: Placed): void {
    const at = message === undefined ? 'the end' : `${Math.round(message.atMs - this.ledger.startMs)} ms`;
    const { reader, name } = this.log;
    this.findings.push({ kind, reader, name, what: `${this.channel.name}: ${what}, at ${at}` });
  }
}
