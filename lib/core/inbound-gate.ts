import type { GapReason, Position } from '../protocol/position.js';
import { Deferred } from './deferred.js';
import type { HistoryRead, HistoryStore } from './history-store.js';
import type { Inbound } from './inbound.js';
import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';
import type { BeforePosts, Transport } from './transport.js';

/** How much is held back; what comes on top is lost, and told as lost. */
const MAX_HELD = 10_000;
const MAX_HELD_LENGTH = 16 * 1024 * 1024;

/**
 * What must be so before messages of other nodes are delivered.
 *
 * @param isWanted - whether anybody still waits for it
 * @param wasInterrupted - whether the link was; if not, something has come on the channel that rings
 * @returns resolves when it is so, or when nobody wants it any more; never rejects
 */
export type GateCheck = (isWanted: () => boolean, wasInterrupted: boolean) => Promise<void>;

/** Something that waits. */
interface Held {
  readonly length: number;
  readonly deliver: () => void;
}

/**
 * Stands between the transport and {@link Inbound}. While it is shut, what other nodes have posted waits, in its order. It shuts
 * when the link is interrupted, until a check has passed; and whenever something comes on one channel of the library. What that
 * says counts for nothing, since anybody may have published it: the check reads what the history has.
 */
export class InboundGate {
  private inbound!: Pick<Inbound, 'receive' | 'lose' | 'reject'>;
  private check: GateCheck | undefined = undefined;
  private isKnown: (position: Position | undefined) => boolean = () => true;
  /** How often it was shut. */
  private turn = 0;
  private opening: Deferred | undefined = undefined;
  /** Of the check after the one that is made now: it has rung meanwhile. */
  private next: Deferred | undefined = undefined;
  /** So many are held from before it rang. */
  private heldBefore = 0;
  private held: Held[] = [];
  private heldLength = 0;
  private readonly lost = new Set<string>();
  private isClosed = false;

  /** @param bell - the channel that rings */
  constructor(
    private readonly bell: string,
    private readonly reporter: Reporter,
  ) {}

  /** Gives it whom what passes is for; once. */
  attach(inbound: Pick<Inbound, 'receive' | 'lose' | 'reject'>): void {
    this.inbound = inbound;
  }

  /** Has a transport start, and hand over what it hears. */
  connect(transport: Transport, beforePosts: BeforePosts): Promise<void> {
    return transport.start(
      (payload, subscription, channel, position) => this.receive(payload, subscription, channel, position),
      {
        rejected: (channel, error) => this.inbound.reject(channel, error),
        lost: (...loss) => this.lose(...loss),
        interrupted: () => this.interrupted(),
        beforePosts,
      },
    );
  }

  /**
   * Shuts, now and whenever the link is interrupted or it rings, until a check has passed.
   *
   * @param isKnown - whether everything is known that the channel that rings has up to a position; `undefined`: up to where it is
   * @returns resolves when the check has passed
   */
  guard(check: GateCheck, isKnown: (position: Position | undefined) => boolean): Promise<void> {
    this.check = check;
    this.isKnown = isKnown;
    this.shut(true);
    return this.passed();
  }

  /** Resolves when a check has passed that began after this: what was read before may be delivered. */
  async passed(): Promise<void> {
    await (this.next ?? this.opening)?.promise;
  }

  /** Shuts as after an interruption. @returns resolves when a check has passed that began after this */
  recheck(): Promise<void> {
    this.interrupted();
    return this.passed();
  }

  /**
   * Something may have come on the channel that rings: shuts, unless that is known.
   *
   * @param position - up to where
   */
  ring(position?: Position): void {
    if (this.check === undefined || this.isKnown(position)) return;
    if (this.opening === undefined) this.shut(false);
    // The check that is made now may have been too early for it. What came before it rang need not wait for the next one, so that
    // somebody who rings without end holds up nobody for long.
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
    // A transport need not tell of an interruption before.
    if (subscription === this.bell) this.interrupted();
    else if (this.opening === undefined) this.inbound.lose(subscription, reason, forMs);
    else {
      const toldMs = performance.now();
      const later = (): number | undefined => (forMs === undefined ? forMs : forMs + performance.now() - toldMs);
      this.hold(subscription, 0, () => this.inbound.lose(subscription, reason, later()));
    }
  }

  private interrupted(): void {
    if (this.check !== undefined) this.shut(true);
  }

  /**
   * What is read of histories passes when it is open. It may be read by a link that lives while the other one is dead, which nobody
   * has noticed: so it is asked where the channel is that rings.
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

  /** Lets go of what is held, and of all who wait. */
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
    } else {
      this.heldLength += length;
      this.held.push({ length, deliver });
    }
  }

  private shut(wasInterrupted: boolean): void {
    if (this.isClosed) return;
    this.opening ??= new Deferred();
    const turn = ++this.turn;
    const isWanted = (): boolean => turn === this.turn;
    void this.check!(isWanted, wasInterrupted).then(() => isWanted() && this.pass());
  }

  /** Opens; only for what came before it rang, if it has meanwhile. */
  private pass(): void {
    const { held, lost, opening, next } = this;
    const passing = held.splice(0, next === undefined ? held.length : this.heldBefore);
    // They came when it was full: after all that is held.
    for (const subscription of lost) {
      (next === undefined ? passing : held).push({
        length: 0,
        deliver: () => this.inbound.lose(subscription, 'broker'),
      });
    }
    lost.clear();
    this.opening = next;
    this.next = undefined;
    for (const { length, deliver } of passing) {
      this.heldLength -= length;
      isolate(this.reporter, 'The delivery of what other servers have posted', deliver);
    }
    opening?.resolve();
    if (next !== undefined) this.shut(false);
  }
}
