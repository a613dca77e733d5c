import { ReplaySubject, type Observable } from 'rxjs';
import { Deferred } from '../core/deferred.js';
import type { HistoryStore } from '../core/history-store.js';
import type { Transport, TransportEvents, TransportReceiver, TransportStatus } from '../core/transport.js';
import { describe, isTemplate, isOfTemplate } from '../protocol/channel-name.js';
import { ConfigurationError, TransportUnavailableError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import { MemoryBroker, type MemoryNode } from './memory-broker.js';

interface Interest {
  readonly segments: readonly string[] | undefined;
  isRegistered: boolean;
  /** Whether it was registered, and later payloads may be missing. */
  hasLost: boolean;
  ready: Deferred | undefined;
}

/**
 * One node of a {@link MemoryBroker}: the contract of a transport without a network, for tests and for several
 * applications in one process. Never delivers inside `publish`.
 */
export class MemoryTransport implements Transport, MemoryNode {
  readonly status: Observable<TransportStatus>;
  readonly history: HistoryStore = {
    append: (channel, ...post) => {
      const append = (): ReturnType<HistoryStore['append']> => this.broker.append(this, channel, ...post);
      return channel === this.events.beforePosts?.except ? append() : this.whenOpen(append);
    },
    read: (...from) => this.broker.read(this, ...from),
    positions: (...asked) => this.broker.positions(this, ...asked),
    changes: (since) => this.broker.changes(this, since),
  };
  private readonly changes = new ReplaySubject<TransportStatus>(1);
  private readonly interests = new Map<string, Interest>();
  /** Posts that wait for the broker, or for work that must come first. */
  private readonly held: (() => void)[] = [];
  /** Set while posts wait for work that must come first; replaced each time the broker is reached. */
  private opening: object | undefined = undefined;
  private receiver: TransportReceiver | undefined = undefined;
  private events: TransportEvents = {};
  private current: TransportStatus = { state: 'connecting' };
  private awaySince = 0;

  /** @throws ConfigurationError for anything but a MemoryBroker */
  constructor(private readonly broker: MemoryBroker) {
    if (!(broker instanceof MemoryBroker)) {
      throw new ConfigurationError(`new MemoryTransport(): give it a MemoryBroker, not ${describe(broker)}`);
    }
    this.status = this.changes.asObservable();
    this.changes.next(this.current);
  }

  async start(receiver: TransportReceiver, events: TransportEvents = {}): Promise<void> {
    if (this.receiver || this.isClosed) return;
    this.receiver = receiver;
    this.events = events;
    this.broker.join(this);
    await this.broker.turn();
  }

  publish(channel: string, payload: string): Promise<boolean> {
    return this.whenOpen(async () => !this.isClosed && this.broker.publish(this, channel, payload));
  }

  subscribe(name: string): Promise<void> {
    if (this.isClosed) return Promise.resolve();
    let interest = this.interests.get(name);
    if (interest === undefined) {
      interest = {
        segments: isTemplate(name) ? name.split('/') : undefined,
        isRegistered: false,
        hasLost: false,
        ready: new Deferred(),
      };
      this.interests.set(name, interest);
      if (this.current.state === 'ready') this.broker.request(this, () => this.register());
    }
    return interest.ready?.promise ?? Promise.resolve();
  }

  unsubscribe(name: string): void {
    this.interests.get(name)?.ready?.resolve();
    this.interests.delete(name);
  }

  hearers(name: string): Promise<number | undefined> {
    if (!this.receiver || this.isClosed) return Promise.resolve(undefined);
    return this.broker.hearers(this, name);
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.broker.leave(this);
    for (const name of [...this.interests.keys()]) this.unsubscribe(name);
    this.become({ state: 'closed' });
    this.changes.complete();
    this.release();
  }

  /** For the broker: it is reachable. */
  connected(): void {
    if (this.isClosed || this.current.state === 'ready') return;
    this.register();
    this.open();
    this.become({ state: 'ready' });
  }

  /** For the broker: it is unreachable, and has forgotten the interests. */
  disconnected(): void {
    if (this.isClosed) return;
    for (const interest of this.interests.values()) {
      interest.hasLost ||= interest.isRegistered;
      interest.isRegistered = false;
      interest.ready ??= new Deferred();
    }
    this.awaySince = performance.now();
    this.release();
    this.events.interrupted?.();
    this.become({ state: 'waiting', error: new TransportUnavailableError('The memory broker is cut off') });
  }

  /** For the broker: takes a published payload, once for each interest. */
  deliver(channel: string, payload: string, position?: Position): void {
    // Changes that a receiver makes meanwhile do not affect this payload.
    for (const [name, { segments, isRegistered }] of [...this.interests]) {
      if (!isRegistered) continue;
      const isMatch = segments ? isOfTemplate(segments, channel.split('/')) : name === channel;
      if (isMatch) this.receiver?.(payload, name, channel, position);
    }
  }

  /** For the broker: whether it was made with it. @internal */
  isOf(broker: MemoryBroker): boolean {
    return this.broker === broker;
  }

  /** For the broker: whether an interest in exactly this name is registered. */
  hears(name: string): boolean {
    return this.interests.get(name)?.isRegistered ?? false;
  }

  private get isClosed(): boolean {
    return this.current.state === 'closed';
  }

  private open(): void {
    const { beforePosts } = this.events;
    if (beforePosts === undefined) return this.release();
    const opening = (this.opening = {});
    void beforePosts.run().then(() => opening === this.opening && this.release());
  }

  private whenOpen<T>(act: () => Promise<T>): Promise<T> {
    const isReady = this.current.state === 'ready' && this.opening === undefined;
    if (isReady || this.isClosed || !this.broker.reaches(this)) return act();
    return new Promise((resolve) => void this.held.push(() => resolve(act())));
  }

  private release(): void {
    this.opening = undefined;
    for (const act of this.held.splice(0)) act();
  }

  private register(): void {
    const losers: string[] = [];
    for (const [name, interest] of this.interests) {
      if (interest.hasLost) losers.push(name);
      interest.hasLost = false;
      interest.isRegistered = true;
      interest.ready?.resolve();
      interest.ready = undefined;
    }
    for (const name of losers) this.events.lost?.(name, 'broker', performance.now() - this.awaySince);
  }

  private become(status: TransportStatus): void {
    this.current = status;
    this.changes.next(status);
  }
}
