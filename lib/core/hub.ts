import { randomUUID } from 'node:crypto';
import { of, type Observable } from 'rxjs';
import type { AnyListenableChannel, AnyPostableChannel } from '../protocol/channel.js';
import type { ChannelOptions } from '../protocol/channel-definition.js';
import { Codec } from '../protocol/codec.js';
import { envelopePrefix } from '../protocol/envelope.js';
import { DEFAULT_LIMITS } from '../protocol/limits.js';
import { TypeRegistry } from '../protocol/type-registry.js';
import { Audience } from './audience.js';
import type { ChannelDefinitions } from './channel-definitions.js';
import type { Delivery } from './delivery.js';
import type { GapListener } from './gap.js';
import type { HubOptions } from './hub-options.js';
import { Inbound } from './inbound.js';
import { isolateObservable } from './isolated-observable.js';
import type { Heard, Listener, ListenerEvents, MessageListener, Tap } from './listener.js';
import { Outbound } from './outbound.js';
import { PostCheck } from './post-check.js';
import type { PostOptions } from './post-options.js';
import type { Reporter } from './reporter.js';
import { Session, type GapReader } from './session.js';
import { Sessions } from './sessions.js';
import type { Transport, TransportStatus } from './transport.js';

/**
 * The messaging engine of one node: its {@link Audience}, what goes out by {@link Outbound} and what comes in by
 * {@link Inbound}, and the sessions that listeners belong to.
 */
export class Hub {
  /** Tells this node from others. */
  readonly node = randomUUID();
  readonly types = new TypeRegistry();
  readonly codec: Codec;
  /** Where failures are told that have no caller. */
  readonly reporter: Reporter;
  readonly sessions: Sessions;
  /** The session of what belongs to the application, not to a request; ends with {@link retire}, or with the hub. */
  readonly root: Session;
  /** The session of what the library itself listens to; ends with the hub. */
  readonly own: Session;
  private readonly transport: Transport | undefined;
  private readonly audience: Audience;
  private readonly outbound: Outbound;
  private readonly inbound: Inbound;
  private subscriber: GapReader | undefined = undefined;

  constructor({ reporter, transport, limits, classFilter, instanceCheck, validateOnPost = true }: HubOptions) {
    const { node, types } = this;
    const { maxMessageBytes } = { ...DEFAULT_LIMITS, ...limits };
    const prefix = envelopePrefix(node);
    this.reporter = reporter;
    this.transport = transport;
    this.sessions = new Sessions(reporter);
    this.root = this.sessions.open();
    this.own = new Session({}, this.sessions);
    const codec = (this.codec = new Codec(types, classFilter, instanceCheck));
    const audience = (this.audience = new Audience(types, transport, reporter));
    const postCheck = instanceCheck && validateOnPost ? new PostCheck(types, instanceCheck, classFilter) : undefined;
    const here = { origin: 'local', node, codec } as const;
    this.outbound = new Outbound(audience, here, prefix, maxMessageBytes, transport, postCheck);
    this.inbound = new Inbound(audience, codec, prefix, maxMessageBytes, reporter);
  }

  /** How channels are defined. */
  get definitions(): ChannelDefinitions {
    return this.audience.definitions;
  }

  /** How the link to the other nodes is; without a transport always ready. */
  get status(): Observable<TransportStatus> {
    return isolateObservable(this.transport?.status ?? of<TransportStatus>({ state: 'ready' }), (error) =>
      this.reporter.callbackFailed({ callback: 'A subscriber of the status', error }),
    );
  }

  /** See {@link Transport.isHeard}; unknown without a transport. */
  async isHeard(name: string): Promise<boolean | undefined> {
    return this.transport?.isHeard?.(name);
  }

  /** Whether there may be other nodes. */
  get hasTransport(): boolean {
    return this.transport !== undefined;
  }

  /** How many messages from other nodes could not be delivered, since the start. */
  get rejectedCount(): number {
    return this.inbound.rejectedCount;
  }

  /** Connects to the other nodes, if there is a transport; see {@link Transport.start}. */
  async start(): Promise<void> {
    const { inbound } = this;
    await this.transport?.start((payload, subscription, channel) => inbound.receive(payload, subscription, channel), {
      rejected: (channel, error) => inbound.reject(channel, error),
      lost: (subscription, reason) => inbound.lose(subscription, reason),
    });
  }

  /**
   * Posts a message. When it returns, the local listeners have run, in the order of registration; unless it was called
   * by a listener of the same channel, in which case they run once the message being delivered has reached all of them.
   * For posts that listeners of other channels make, each inside the one before, see {@link Dispatcher}.
   *
   * @returns `true`: delivered here and, if global, accepted by the broker. `false`: the broker did not
   *   accept it; local listeners have got it all the same. Never rejects.
   * @throws MessagingError for misuse, before anything is delivered
   */
  post(channel: AnyPostableChannel, message: unknown, options?: PostOptions): Promise<boolean> {
    return this.outbound.post(channel, message, options);
  }

  /**
   * The current delivery of a message that comes out of operators of the application, which pass on the message alone;
   * `undefined` if its listeners are no longer being called.
   */
  deliveryOf(message: unknown): Delivery | undefined {
    const { current } = this.audience;
    return current !== undefined && current.message === message ? current : undefined;
  }

  /** Tells a reader of the losses of whatever `subscribe` subscribes to, in any session. */
  subscribeFor<T>(reader: GapReader, subscribe: () => T): T {
    const outer = this.subscriber;
    this.subscriber = reader;
    try {
      return subscribe();
    } finally {
      this.subscriber = outer;
    }
  }

  /** Who is told of the losses of a subscription that is made now, beside its own `onGap`. */
  gapReaderOf(session: Session): GapReader {
    return this.subscriber ?? session;
  }

  /** See {@link Audience.optionsOf}. */
  optionsOf(delivery: Delivery): Readonly<ChannelOptions> {
    return this.audience.optionsOf(delivery);
  }

  /**
   * Registers a listener in a session.
   *
   * @param label - what logs call it; the function's name otherwise
   * @param onGap - see `ListenOptions`
   * @throws MessagingError for what is no channel or no function
   */
  listen(
    channel: AnyListenableChannel,
    call: MessageListener<never>,
    session: Session,
    label?: string,
    onGap?: GapListener,
  ): Listener {
    const listener = this.prepare(channel, call, session, label);
    listener.onGap = onGap;
    this.attach(listener);
    return listener;
  }

  /** See {@link Audience.prepare}. */
  prepare(channel: AnyListenableChannel, call: MessageListener<never>, session: Session, label?: string): Listener {
    return this.audience.prepare(channel, call, session, label);
  }

  /** See {@link Audience.heard}. */
  heard(channel: AnyListenableChannel): Heard {
    return this.audience.heard(channel);
  }

  /** See {@link Audience.heardUnder}. */
  heardUnder(name: string): Heard {
    return this.audience.heardUnder(name);
  }

  /** See {@link Audience.tap}. */
  tap(heard: Heard, tap: Tap, session: Session, label: string, events?: ListenerEvents): Listener {
    return this.audience.tap(heard, tap, session, label, events);
  }

  /** See {@link Audience.attach}. */
  attach(listener: Listener): void {
    this.audience.attach(listener);
  }

  /** See {@link Audience.holdPosts}. */
  holdPosts(): void {
    this.audience.holdPosts();
  }

  /** See {@link Audience.release}. */
  release(listeners: readonly Listener[]): void {
    this.audience.release(listeners);
  }

  /**
   * Closes all sessions but the library's {@link own}: the application hears no more, while this node still answers the others.
   * {@link close} must follow.
   */
  retire(): void {
    this.sessions.close('shutdown');
  }

  /** Closes all sessions, and with them all listeners and streams, then the transport. */
  async close(): Promise<void> {
    this.retire();
    this.own.end('shutdown');
    await this.transport?.close();
  }
}
