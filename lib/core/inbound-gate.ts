import type { GapReason, Position } from '../protocol/position.js';
import { Deferred } from './deferred.js';
import type { HistoryRead, HistoryStore } from './history-store.js';
import type { Inbound } from './inbound.js';
import { inTime } from './in-time.js';
import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';
import type { BeforePosts, Transport } from './transport.js';

/** How many messages are held back. More are lost, and reported as lost. */
const MAX_HELD = 10_000;
const MAX_HELD_LENGTH = 16 * 1024 * 1024;
/** How long {@link InboundGate.whenDelivered} waits. In milliseconds. */
const DELIVERED_MS = 4_000;
/** For how long held messages are delivered in one turn of the event loop, in milliseconds. */
const TURN_MS = 10;

/**
 * A condition that must hold before messages of other nodes are delivered.
 *
 * @param isWanted - whether anybody still waits for it
 * @param wasInterrupted - whether the link was interrupted; if not, something arrived on the bell channel
 * @returns resolves when the condition holds, or when nobody waits for it any more; never rejects
 */
export type GateCheck = (isWanted: () => boolean, wasInterrupted: boolean) => Promise<void>;

/** A payload that waits. */
interface Held {
  readonly length: number;
  readonly deliver: () => void;
}

/**
 * Stands between the transport and {@link Inbound}. While it is shut, messages of other nodes wait, in order. It shuts when the link is
 * interrupted, and whenever something arrives on the bell channel, until a check has passed. The content of that message is ignored,
 * since anybody may have published it: the check reads the history.
 */
export class InboundGate {
  private inbound!: Pick<Inbound, 'receive' | 'lose' | 'reject'>;
  private check: GateCheck | undefined = undefined;
  private isKnown: (position: Position | undefined) => boolean = () => true;
  /** How often the link has been interrupted. */
  interruptions = 0;
  /** How often it has shut. */
  private turn = 0;
  private opening: Deferred | undefined = undefined;
  /** The check after the current one, because the bell rang meanwhile. */
  private next: Deferred | undefined = undefined;
  /** How many messages arrived before the bell rang. */
  private heldBefore = 0;
  private held: Held[] = [];
  private heldLength = 0;
  private readonly lost = new Set<string>();
  private isClosed = false;

  /** @param bell - the channel whose messages shut the gate */
  constructor(
    private readonly bell: string,
    private readonly reporter: Reporter,
  ) {}

  /** Sets the receiver of the messages that pass. Call it once. */
  attach(inbound: Pick<Inbound, 'receive' | 'lose' | 'reject'>): void {
    this.inbound = inbound;
  }

  /** Starts a transport and receives its messages. */
  connect(transport: Transport, beforePosts: BeforePosts): Promise<void> {
    return transport.start(
      (payload, subscription, channel, position) => this.receive(payload, subscription, channel, position),
      {
        rejected: (channel, error) => this.inbound.reject(channel, error),
        lost: (...loss) => this.lose(...loss),
        interrupted: () => this.interrupted(),
        warned: (text) => this.reporter.warn?.('transport', text),
        beforePosts,
      },
    );
  }

  /**
   * Shuts, now and at each interruption or ring of the bell, until a check has passed.
   *
   * @param isKnown - whether this node knows everything on the bell channel up to a position; `undefined`: up to its end
   * @returns resolves when the check has passed
   */
  guard(check: GateCheck, isKnown: (position: Position | undefined) => boolean): Promise<void> {
    this.check = check;
    this.isKnown = isKnown;
    this.shut(true);
    return this.passed();
  }

  /** Resolves when a check that began after this call has passed: what was read before the call may then be delivered. */
  async passed(): Promise<void> {
    await (this.next ?? this.opening)?.promise;
  }

  /**
   * Waits until all messages and losses that have arrived so far have been passed on.
   *
   * @returns `false` if that takes too long
   */
  async whenDelivered(): Promise<boolean> {
    if (this.opening === undefined) return true;
    const passed = this.passed().then(() => true);
    return inTime(passed, DELIVERED_MS, () => false);
  }

  /**
   * Something may have arrived on the bell channel: shuts, unless this node knows it already.
   *
   * @param position - of the latest message there
   */
  ring(position?: Position): void {
    if (this.check === undefined || this.isKnown(position)) return;
    if (this.opening === undefined) this.shut(false);
    // The current check may have started too early for this ring. Messages from before the ring need not wait for the next check, so a
    // sender that rings without end delays nobody for long.
    else if (this.next === undefined) {
      this.next = new Deferred();
      this.heldBefore = this.held.length;
    }
  }

  private receive(payload: string, subscription: string, channel: string, position?: Position): void {
    const { inbound } = this;
    if (subscription === this.bell) this.ring(position);
    else if (this.opening === undefined) inbound.receive(payload, subscription, channel, position);
    else this.hold(subscription, payload.length, () => inbound.receive(payload, subscription, channel, position));
  }

  private lose(subscription: string, reason: GapReason, forMs?: number): void {
    // A transport need not report an interruption beforehand.
    if (subscription === this.bell) this.interrupted();
    else if (this.opening === undefined) this.inbound.lose(subscription, reason, forMs);
    else {
      const toldMs = performance.now();
      const later = (): number | undefined => (forMs === undefined ? forMs : forMs + performance.now() - toldMs);
      this.hold(subscription, 0, () => this.inbound.lose(subscription, reason, later()));
    }
  }

  private interrupted(): void {
    this.interruptions++;
    if (this.check !== undefined) this.shut(true);
  }

  /**
   * Lets reads of histories pass only while the gate is open. A read may use a link that works while the subscriber's link is dead and
   * nobody has noticed, so the position of the bell channel is read as well.
   */
  guarded(store: HistoryStore): HistoryStore {
    return {
      append: (...post) => store.append(...post),
      positions: (...asked) => store.positions(...asked),
      changes: store.changes && ((since) => store.changes!(since)),
      read: async (channel, ...from): Promise<HistoryRead> => {
        const read = await store.read(channel, ...from);
        if (channel === this.bell || this.check === undefined) return read;
        const [position] = await store.positions([this.bell]);
        this.ring(position);
        await this.passed();
        return read;
      },
    };
  }

  /** Drops the held messages, and releases everybody who waits. */
  close(): void {
    this.isClosed = true;
    this.turn++;
    this.held = [];
    for (const check of [this.opening, this.next]) check?.resolve();
    this.opening = this.next = undefined;
  }

  private hold(subscription: string, length: number, deliver: () => void): void {
    if (this.held.length >= MAX_HELD || this.heldLength + length > MAX_HELD_LENGTH) {
      this.lost.add(subscription);
      return;
    }
    this.holdLosses();
    this.heldLength += length;
    this.held.push({ length, deliver });
  }

  /** These losses happened when it was full, so they come after everything that is held, and before everything that is held later. */
  private holdLosses(): void {
    for (const subscription of this.lost) {
      this.held.push({ length: 0, deliver: () => this.inbound.lose(subscription, 'broker') });
    }
    this.lost.clear();
  }

  private shut(wasInterrupted: boolean): void {
    if (this.isClosed) return;
    this.opening ??= new Deferred();
    const turn = ++this.turn;
    const isWanted = (): boolean => turn === this.turn;
    void this.check!(isWanted, wasInterrupted).then(() => isWanted() && this.pass());
  }

  /** Opens once all that is held is delivered; if the bell rings before, only what was held before the ring. */
  private pass(): void {
    const { turn } = this;
    this.holdLosses();
    if (!this.release(turn)) {
      setImmediate(() => turn === this.turn && this.pass());
      return;
    }
    const { opening, next } = this;
    this.opening = next;
    this.next = undefined;
    opening?.resolve();
    if (next !== undefined) this.shut(false);
  }

  /** Delivers in order, for {@link TURN_MS}, until it shuts again or closes. Returns whether that was all. */
  private release(turn: number): boolean {
    const { held } = this;
    const until = performance.now() + TURN_MS;
    let count = 0;
    // The bell may ring meanwhile.
    const isOver = (): boolean => count >= (this.next === undefined ? held.length : this.heldBefore);
    while (turn === this.turn && !isOver() && performance.now() < until) {
      const { length, deliver } = held[count++]!;
      this.heldLength -= length;
      isolate(this.reporter, 'The delivery of what other servers have posted', deliver);
    }
    const isAll = turn === this.turn && isOver();
    held.splice(0, count);
    this.heldBefore -= count;
    return isAll;
  }
}
