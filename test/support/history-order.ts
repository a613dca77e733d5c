import type { Position } from 'nestjs-messaging';

/** A message as a reader received it. */
export interface Placed {
  readonly channel: string;
  /** The name of the message: its poster and its number there. */
  readonly key: string;
  readonly atMs: number;
  /** Its place in the history, if the reader learns it. */
  readonly position: Position | undefined;
}

/** A reader's report of a loss. */
export interface Gap {
  readonly reason: string;
  readonly atMs: number;
  /** Where the channel continues, if the reader learns it. */
  readonly position: Position | undefined;
}

/** Readers report messages a little later than they receive them. */
const SLACK_MS = 1_000;

/** A numbering of a history, from its beginning until a wipe: of one epoch, or of several that continue each other. */
interface Numbering {
  last: number;
  firstSeenMs: number;
  /** The ranks of its messages are their offsets plus this number. */
  base: number;
}

/**
 * The order of one channel's messages, from the combined reports of all readers with positions. Ranks continue after a history
 * was wiped and began again.
 *
 * A replica that takes over may lack the tail of its master's history: the history branches. The new epoch continues at the last place
 * that the replica knew of the master's epoch. The tail has no ranks, and no reader must have it.
 */
export class HistoryOrder {
  /** Messages at two places, and places with two messages. */
  readonly conflicts: string[] = [];
  /** From the first to the last. */
  readonly epochs: readonly Numbering[];
  readonly #numberings = new Map<string, Numbering>();
  /** The places of each message: at most one in each numbering. */
  readonly #ranks = new Map<string, number[]>();
  /** Each rank that was the highest when it was seen, and that time. */
  readonly #growth: { readonly atMs: number; readonly rank: number }[] = [];

  readonly #keys = new Map<number, string>();
  /** The last offset of an epoch from which the next one continues, if its tail was lost. */
  readonly #ends = new Map<string, number>();
  /** The messages of tails. */
  readonly #tails = new Set<string>();

  /**
   * @param logs - of each reader of the channel, in order
   * @param canBranch - whether a master was killed; otherwise a history that goes back without a gap is an error
   */
  constructor(logs: readonly (readonly (Placed | Gap)[])[], canBranch = false) {
    const seen = logs.flatMap((log) =>
      log.filter((entry) => 'key' in entry && entry.position !== undefined),
    ) as (Placed & {
      readonly position: Position;
    })[];
    const first = firstOffsets(seen.map(({ position }) => position));
    if (canBranch) for (const log of logs) this.findBranches(log, first);
    for (const { atMs, position, key } of seen) {
      if (this.isInTail(position)) this.#tails.add(key);
      else this.see(position, atMs);
    }
    for (const log of logs) this.join(log);
    this.epochs = [...new Set(this.#numberings.values())].toSorted((a, b) => a.firstSeenMs - b.firstSeenMs);
    let base = 0;
    for (const numbering of this.epochs) {
      numbering.base = base;
      base += numbering.last;
    }
    for (const { key, position, atMs } of seen.toSorted((a, b) => a.atMs - b.atMs)) {
      if (this.isInTail(position)) continue;
      const rank = this.rankAt(position)!;
      const [own = [], there] = [this.#ranks.get(key), this.#keys.get(rank)];
      // A post tried again after a wipe may be in the history before it, and in the one after it.
      const before = own.find((each) => this.epochAt(each) === this.epochAt(rank));
      if (before !== undefined && before !== rank) this.conflict(`${key} is at ${this.placeOf(before)} too`, rank);
      if (there !== undefined && there !== key) this.conflict(`${there} and ${key} are both there`, rank);
      if (!own.includes(rank))
        this.#ranks.set(
          key,
          [...own, rank].toSorted((a, b) => a - b),
        );
      this.#keys.set(rank, key);
      if (rank > (this.#growth.at(-1)?.rank ?? 0)) this.#growth.push({ atMs, rank });
    }
  }

  /** Whether only the first readers of a message have it, because its master is gone; it may have another place too. */
  isLost({ key, position }: Placed): boolean {
    return position === undefined ? this.#tails.has(key) : this.isInTail(position);
  }

  /** Whether a history branched between two ranks, so that posts from there may be gone. */
  hasBranched(after: number, before: number): boolean {
    return [...this.#ends].some(([epoch, offset]) => {
      const rank = this.rankAt({ epoch, offset }) ?? 0;
      return after <= rank && rank < before;
    });
  }

  /** The last rank; undefined if none is known. */
  get end(): number | undefined {
    const last = this.epochs.at(-1);
    return last && last.base + last.last;
  }

  /** The first place of a message after a rank, else the last one. */
  rankOf(key: string, after = Infinity): number | undefined {
    const ranks = this.#ranks.get(key);
    return ranks?.find((rank) => rank > after) ?? ranks?.at(-1);
  }

  /** The rank of a position, even if no message after it was read. */
  rankAt({ epoch, offset }: Position): number | undefined {
    const numbering = this.#numberings.get(epoch);
    return numbering && numbering.base + offset;
  }

  /** Whether no reader has seen one of the places between two ranks. */
  hasUnseen(after: number, before: number): boolean {
    for (let rank = after + 1; rank < before; rank++) if (!this.#keys.has(rank)) return true;
    return false;
  }

  /** The start of the run of unseen places directly below a rank; the rank itself if the place below it was seen. */
  unseenBelow(rank: number): number {
    while (rank > 1 && !this.#keys.has(rank - 1)) rank--;
    return rank;
  }

  /** The index of a rank's numbering, from 0. */
  epochAt(rank: number): number {
    return this.epochs.findLastIndex(({ base }) => base < rank);
  }

  /** The first rank of the numbering of a rank. */
  beginningOf(rank: number): number {
    return (this.epochs[this.epochAt(rank)]?.base ?? 0) + 1;
  }

  /** The highest possible rank of the history at a time. */
  highestAt(atMs: number): number {
    return this.#growth.findLast((each) => each.atMs <= atMs + SLACK_MS)?.rank ?? 0;
  }

  placeOf(rank: number): string {
    const epoch = this.epochAt(rank);
    return `${epoch + 1}:${rank - (this.epochs[epoch]?.base ?? 0)}`;
  }

  private isInTail({ epoch, offset }: Position): boolean {
    return offset > (this.#ends.get(epoch) ?? Infinity);
  }

  /** @param first - offset of each epoch */
  private findBranches(log: readonly (Placed | Gap)[], first: ReadonlyMap<string, number>): void {
    let from: Position | undefined = undefined;
    for (const entry of log) {
      const to: Position | undefined = 'key' in entry ? entry.position : undefined;
      if (from && to && from.epoch !== to.epoch && to.offset === first.get(to.epoch) && to.offset <= from.offset) {
        this.#ends.set(from.epoch, to.offset - 1);
      }
      from = to;
    }
  }

  private see({ epoch, offset }: Position, atMs: number): void {
    const numbering = this.#numberings.get(epoch);
    if (!numbering) this.#numberings.set(epoch, { last: offset, firstSeenMs: atMs, base: 0 });
    else {
      numbering.last = Math.max(numbering.last, offset);
      numbering.firstSeenMs = Math.min(numbering.firstSeenMs, atMs);
    }
  }

  /**
   * If a reader continued in another epoch with the next offset, or learned that more was not kept, that is the same
   * numbering.
   */
  private join(log: readonly (Placed | Gap)[]): void {
    let from: Position | undefined = undefined;
    let gaps: Gap[] = [];
    for (const entry of log) {
      if (!('key' in entry)) {
        gaps.push(entry);
        continue;
      }
      const to = entry.position && this.isInTail(entry.position) ? undefined : entry.position;
      if (entry.position && !to) continue;
      const isNext = gaps.length === 0 ? to?.offset === (from?.offset ?? NaN) + 1 : gaps.every(isTrimming);
      if (from && to && from.epoch !== to.epoch && isNext) this.unite(from.epoch, to.epoch);
      from = to;
      gaps = [];
    }
  }

  private unite(from: string, to: string): void {
    const [one, other] = [this.#numberings.get(from)!, this.#numberings.get(to)!];
    if (one === other) return;
    one.last = Math.max(one.last, other.last);
    one.firstSeenMs = Math.min(one.firstSeenMs, other.firstSeenMs);
    for (const [epoch, each] of this.#numberings) if (each === other) this.#numberings.set(epoch, one);
  }

  private conflict(what: string, rank: number): void {
    this.conflicts.push(`${this.placeOf(rank)}: ${what}`);
  }
}

/** The lowest seen offset of each epoch. */
function firstOffsets(positions: readonly Position[]): Map<string, number> {
  const first = new Map<string, number>();
  for (const { epoch, offset } of positions) first.set(epoch, Math.min(offset, first.get(epoch) ?? Infinity));
  return first;
}

function isTrimming({ reason }: Gap): boolean {
  return reason === 'trimmed';
}
