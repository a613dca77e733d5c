import type { LogEntry, LogMessage } from './channel-log.js';
import { randomNumber } from './random-number.js';
import type { SerialVector } from './serial-vector.js';

/** How many cuts one log keeps at once. */
const MAX_CUTS = 1_000;

/**
 * Decides which of this node's entries a client from another log still needs. It stands for one answer, shared by all clients that
 * wait for that answer. Clients never need entries up to {@link from}: the other log had all of them.
 */
export class Cut {
  /**
   * @param node - this node
   * @param from - how far this log had come when the question was asked, or before. The subscription was registered by then
   * @param to - how far it had come when the answer arrived. If the other node does not answer: when a question of this node to itself
   *   came back through its subscription
   * @param vector - how far each poster's messages had reached the other log when it was read. Without it, or if it has forgotten
   *   something, entries up to `to` cannot be compared with those that the client has read
   * @param asked - how far this log had come when the question that was answered was sent, and this node heard everything. What
   *   this node had lost by then, the other one has, or has told of
   */
  constructor(
    private readonly node: string,
    readonly from: number,
    readonly to: number,
    private readonly vector: SerialVector | undefined,
    private readonly asked = from,
  ) {}

  /**
   * Whether an entry after {@link from} is for a client, or cannot be compared with what it has read: it is then not sent.
   *
   * @param joined - how far this log had come when the client came
   */
  decide({ offset, item }: LogEntry<unknown>, joined: number): 'owed' | 'not owed' | 'unclear' {
    if (item.kind === 'gap') return offset > this.asked ? 'owed' : 'not owed';
    // It stayed on this node: only clients that were here already are owed it.
    if (this.isOwn(item)) return offset > joined ? 'owed' : 'not owed';
    const hasCome = item.serial === undefined ? undefined : this.vector?.covers(item.node, item.channel, item.serial);
    if (hasCome !== undefined) return hasCome ? 'not owed' : 'owed';
    return offset > this.to ? 'owed' : 'unclear';
  }

  /** Those of the entries that are for a client. What is unclear was told when the client came. */
  owed<Body>(entries: readonly LogEntry<Body>[], joined: number): LogEntry<Body>[] {
    return entries.filter((entry) => this.decide(entry, joined) === 'owed');
  }

  private isOwn({ node, serial }: LogMessage<unknown>): boolean {
    return serial === undefined && node === this.node;
  }
}

/** A cut that positions are counted by. */
interface KeptCut {
  readonly cut: Cut;
  readonly number: number;
  /** From there on, positions need no cut. */
  until: number;
}

/** The cuts of one log that clients' positions may still be counted by. */
export class Cuts {
  private readonly byNumber = new Map<number, KeptCut>();
  private readonly byCut = new Map<Cut, KeptCut>();
  /** Positions before it may have been counted by a cut that there was no room for. */
  private unknownUntil = 0;

  /** @param newNumber - another one each time */
  constructor(private readonly newNumber = randomNumber) {}

  /**
   * Keeps a cut as long as a position may need it.
   *
   * @param joined - of a client whose position is counted by it
   * @param forgotten - up to where the log has forgotten what it had: no position there can be read on from
   * @returns its number
   */
  keep(cut: Cut, joined: number, forgotten: number): number {
    this.makeRoom(forgotten);
    let kept = this.byCut.get(cut);
    if (kept === undefined) {
      kept = { cut, number: this.newNumber(), until: cut.to };
      this.byCut.set(cut, kept);
      this.byNumber.set(kept.number, kept);
    }
    kept.until = Math.max(kept.until, joined);
    return kept.number;
  }

  /** The cut that a position is counted by; `undefined` if it needs none, `lost` if the cut is no longer kept. */
  get(number: number, offset: number): Cut | undefined | 'lost' {
    const kept = this.byNumber.get(number);
    if (kept !== undefined) return offset < kept.until ? kept.cut : undefined;
    return offset < this.unknownUntil ? 'lost' : undefined;
  }

  private makeRoom(forgotten: number): void {
    for (const [number, { cut, until }] of this.byNumber) {
      if (until > forgotten) {
        if (this.byNumber.size < MAX_CUTS) return;
        this.unknownUntil = Math.max(this.unknownUntil, until);
      }
      this.byNumber.delete(number);
      this.byCut.delete(cut);
    }
  }
}
