import type { GapReason, Position } from '../protocol/position.js';
import { Deferred } from './deferred.js';
import type { HistoryRead, HistoryStore } from './history-store.js';
import type { Inbound } from './inbound.js';
import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';
import type { Transport } from './transport.js';

/** How much is held back; what comes on top is lost, and told as lost. */
const MAX_HELD = 10_000;
const MAX_HELD_LENGTH = 16 * 1024 * 1024;

/**
 * What must be so before messages of other nodes are delivered.
 *
 * @param isWanted - whether anybody still waits for it
 * @returns resolves when it is so, or when nobody wants it any more; never rejects
 */
export type GateCheck = (isWanted: () => boolean) => Promise<void>;

/**
 * Stands between the transport and {@link Inbound}. While it is shut, what other nodes have posted waits, in its order; only
 * one channel of the library passes. It shuts when the link is interrupted, until a check has passed.
 */
export class InboundGate {
  private inbound!: Pick<Inbound, 'receive' | 'lose' | 'reject'>;
  private check: GateCheck | undefined = undefined;
  private isKnown: (position: Position) => boolean = () => true;
  /** How often it was shut. */
  private turn = 0;
  private opening: Deferred | undefined = undefined;
  private held: (() => void)[] = [];
  private heldLength = 0;
  private readonly lost = new Set<string>();
  private isClosed = false;

  /** @param exempt - the channel that passes */
  constructor(
    private readonly exempt: string,
    private readonly reporter: Reporter,
  ) {}

  /** Gives it whom what passes is for; once. */
  attach(inbound: Pick<Inbound, 'receive' | 'lose' | 'reject'>): void {
    this.inbound = inbound;
  }

  /** Has a transport start, and hand over what it hears. */
  connect(transport: Transport): Promise<void> {
    return transport.start(
      (payload, subscription, channel, position) => this.receive(payload, subscription, channel, position),
      {
        rejected: (channel, error) => this.inbound.reject(channel, error),
        lost: (...loss) => this.lose(...loss),
        interrupted: () => this.interrupted(),
      },
    );
  }

  /**
   * Shuts, now and whenever the link is interrupted, until a check has passed.
   *
   * @param isKnown - whether everything is known of the channel that passes, up to where it is now
   * @returns resolves when it is open
   */
  guard(check: GateCheck, isKnown: (position: Position) => boolean): Promise<void> {
    this.check = check;
    this.isKnown = isKnown;
    this.shut();
    return this.passed();
  }

  /** Resolves when it is open: what was read before then may be delivered. */
  async passed(): Promise<void> {
    // It may shut again before this goes on.
    while (this.opening !== undefined) await this.opening.promise;
  }

  private receive(payload: string, subscription: string, channel: string, position?: Position): void {
    const { inbound } = this;
    if (this.opening === undefined || subscription === this.exempt) {
      inbound.receive(payload, subscription, channel, position);
    } else {
      this.hold(subscription, payload.length, () => inbound.receive(payload, subscription, channel, position));
    }
  }

  private lose(subscription: string, reason: GapReason, forMs?: number): void {
    // A transport need not tell of an interruption before.
    if (subscription === this.exempt) this.interrupted();
    if (this.opening === undefined || subscription === this.exempt) this.inbound.lose(subscription, reason, forMs);
    else {
      const toldMs = performance.now();
      const later = (): number | undefined => (forMs === undefined ? forMs : forMs + performance.now() - toldMs);
      this.hold(subscription, 0, () => this.inbound.lose(subscription, reason, later()));
    }
  }

  private interrupted(): void {
    if (this.check !== undefined) this.shut();
  }

  /**
   * What is read of histories passes when it is open. It may be read by a link that lives while the other one is dead, which nobody
   * has noticed: so it is asked where the channel is that passes.
   */
  guarded(store: HistoryStore): HistoryStore {
    return {
      append: (...post) => store.append(...post),
      positions: (...asked) => store.positions(...asked),
      changes: store.changes && ((since) => store.changes!(since)),
      read: async (channel, ...from): Promise<HistoryRead> => {
        const read = await store.read(channel, ...from);
        if (channel === this.exempt || this.check === undefined) return read;
        const [position] = await store.positions([this.exempt]);
        if (this.opening === undefined && !this.isKnown(position!)) this.shut();
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
    this.opening?.resolve();
    this.opening = undefined;
  }

  private hold(subscription: string, length: number, deliver: () => void): void {
    if (this.held.length >= MAX_HELD || this.heldLength + length > MAX_HELD_LENGTH) {
      this.lost.add(subscription);
    } else {
      this.heldLength += length;
      this.held.push(deliver);
    }
  }

  private shut(): void {
    if (this.isClosed) return;
    this.opening ??= new Deferred();
    const turn = ++this.turn;
    const isWanted = (): boolean => turn === this.turn;
    void this.check!(isWanted).then(() => isWanted() && this.open());
  }

  private open(): void {
    const { held, lost, opening } = this;
    this.held = [];
    this.heldLength = 0;
    this.opening = undefined;
    for (const deliver of held) isolate(this.reporter, 'The delivery of what other servers have posted', deliver);
    for (const subscription of lost) this.inbound.lose(subscription, 'broker');
    lost.clear();
    opening?.resolve();
  }
}
