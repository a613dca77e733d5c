import { ReplaySubject } from 'rxjs';
import { Deferred } from '../../lib/core/deferred.js';
import type { HistoryStore } from '../../lib/core/history-store.js';
import { MemoryHistories } from '../../lib/core/memory-histories.js';
import type { Transport, TransportEvents, TransportReceiver, TransportStatus } from '../../lib/core/transport.js';
import { TransportUnavailableError } from '../../lib/protocol/errors.js';

/** What is on its way, the oldest first. */
type Way = (() => void)[];

/** How a node is subscribed to a name. */
interface Interest {
  readonly ready: Deferred;
  /** Whether it was registered before: what is published until it is again is lost. */
  isPromised: boolean;
}

/**
 * A broker with histories that delivers nothing, in either direction, before the test says so. As with Redis, each node has two
 * connections: one for commands, one for subscriptions. Each connection keeps the order in each direction; between connections there is
 * no order.
 */
export class SlowBroker {
  readonly histories = new MemoryHistories();
  readonly nodes: SlowTransport[] = [];

  publish(channel: string, ...message: [payload: string, position?: { epoch: string; offset: number }]): void {
    for (const node of this.nodes) node.published(channel, ...message);
  }

  /** All that is on its way, each connection in both ways. */
  get ways(): readonly Way[] {
    return this.nodes.flatMap(({ ways }) => ways);
  }

  /** Brings everything to its end that is on its way, and what follows from it. */
  async deliverAll(): Promise<void> {
    for (let idle = 0; idle < 5; idle++) {
      for (const way of this.ways) for (; way.length > 0; idle = 0) way.shift()!();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** A node of a {@link SlowBroker}. */
export class SlowTransport implements Transport {
  readonly status = new ReplaySubject<TransportStatus>(1);
  readonly history: HistoryStore = {
    append: (channel, ...post) =>
      this.ask(() => {
        const outcome = this.broker.histories.append(channel, ...post);
        if (outcome.kind === 'appended') this.broker.publish(channel, post[0].payload, outcome.position);
        return outcome;
      }),
    read: (...from) => this.ask(() => this.broker.histories.read(...from)),
    positions: (channels, at) => this.ask(() => channels.map((channel) => this.broker.histories.position(channel, at))),
  };
  /** Commands, their answers, subscriptions, and what is published. */
  readonly ways: readonly [commands: Way, answers: Way, subscriptions: Way, published: Way] = [[], [], [], []];
  private readonly interests = new Map<string, Interest>();
  /** What the broker knows of the subscriptions. */
  private heard = new Set<string>();
  private receiver: TransportReceiver = () => {};
  private events: TransportEvents = {};
  private isCut = false;

  constructor(private readonly broker: SlowBroker) {
    broker.nodes.push(this);
  }

  async start(receiver: TransportReceiver, events: TransportEvents = {}): Promise<void> {
    this.receiver = receiver;
    this.events = events;
    this.status.next({ state: 'ready' });
  }

  publish(channel: string, payload: string): Promise<boolean> {
    return this.ask(() => {
      this.broker.publish(channel, payload);
      return true;
    });
  }

  subscribe(name: string): Promise<void> {
    let interest = this.interests.get(name);
    if (interest === undefined) {
      interest = { ready: new Deferred(), isPromised: false };
      this.interests.set(name, interest);
      if (!this.isCut) this.register(name, interest);
    }
    return interest.ready.promise;
  }

  unsubscribe(name: string): void {
    this.interests.get(name)?.ready.resolve();
    this.interests.delete(name);
    this.ways[2].push(() => this.interests.has(name) || this.heard.delete(name));
  }

  /** The connection for subscriptions breaks, and what is on its way over it is lost. The one for commands does not. */
  cut(): void {
    if (this.isCut) return;
    this.isCut = true;
    this.ways[2].length = this.ways[3].length = 0;
    this.heard = new Set();
    this.status.next({ state: 'waiting', error: new TransportUnavailableError('cut') });
    this.events.interrupted?.();
  }

  heal(): void {
    if (!this.isCut) return;
    this.isCut = false;
    this.status.next({ state: 'ready' });
    for (const [name, interest] of this.interests) this.register(name, interest);
  }

  /** For the broker: somebody has published a payload. */
  published(channel: string, ...message: [payload: string, position?: { epoch: string; offset: number }]): void {
    const [payload, position] = message;
    if (!this.heard.has(channel)) return;
    this.ways[3].push(() => this.interests.has(channel) && this.receiver(payload, channel, channel, position));
  }

  async close(): Promise<void> {
    this.status.complete();
  }

  private register(name: string, interest: Interest): void {
    this.ways[2].push(() => {
      this.heard.add(name);
      this.ways[3].push(() => {
        if (this.interests.get(name) !== interest) return;
        if (interest.isPromised) this.events.lost?.(name, 'broker', 0);
        interest.isPromised = true;
        interest.ready.resolve();
      });
    });
  }

  private ask<T>(answer: () => T): Promise<T> {
    const [commands, answers] = this.ways;
    return new Promise((resolve) => {
      commands.push(() => {
        const found = answer();
        answers.push(() => resolve(found));
      });
    });
  }
}
