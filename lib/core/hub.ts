import { randomUUID } from 'node:crypto';
import { of, type Observable } from 'rxjs';
import {
  Channel,
  isChannel,
  postableName,
  type AnyListenableChannel,
  type AnyPostableChannel,
  type ChannelOptions,
} from '../protocol/channel.js';
import {
  MAX_CHANNEL_NAME_LENGTH,
  RESERVED_PREFIX,
  checkChannelName,
  isTemplate,
  quote,
} from '../protocol/channel-name.js';
import type { ClassFilter } from '../protocol/codec/class-filter.js';
import type { InstanceCheck } from '../protocol/codec/instance-check.js';
import { Codec } from '../protocol/codec.js';
import { decodeEnvelope, encodeEnvelope, envelopePrefix } from '../protocol/envelope.js';
import { InvalidMessageError, LimitExceededError, RedisNotEnabledError } from '../protocol/errors.js';
import { DEFAULT_LIMITS, exceedsBytes, type Limits } from '../protocol/limits.js';
import type { Class } from '../protocol/message.js';
import { isInstance } from '../protocol/message-class.js';
import { typeName } from '../protocol/serializable.js';
import { TypeRegistry } from '../protocol/type-registry.js';
import { assertPosted, isDirectly, notCarried } from './class-guard.js';
import { ChannelDefinitions, definedTwice } from './channel-definitions.js';
import { Delivery, type Origin } from './delivery.js';
import { Dispatcher } from './dispatcher.js';
import { isolateObservable } from './isolated-observable.js';
import { Listener, assertListener, type Heard, type MessageListener, type Tap } from './listener.js';
import type { ListenerList } from './listener-list.js';
import { ListenerRegistry } from './listener-registry.js';
import { PostCheck } from './post-check.js';
import { checkPostOptions, type PostOptions } from './post-options.js';
import type { Reporter } from './reporter.js';
import type { Session } from './session.js';
import { Sessions } from './sessions.js';
import type { Transport, TransportStatus } from './transport.js';

/** What a hub is made of. */
export interface HubOptions {
  /** Where failures are told that have no caller. */
  readonly reporter: Reporter;
  /** Carries messages to other nodes; without one there are none. */
  readonly transport?: Transport | undefined;
  readonly limits?: Partial<Limits> | undefined;
  /** Decides what of an instance leaves the process; without it, all of its own enumerable properties. */
  readonly classFilter?: ClassFilter | undefined;
  /** What each instance that arrives from elsewhere, or is posted, must pass. */
  readonly instanceCheck?: InstanceCheck | undefined;
  /** @defaultValue true */
  readonly validateOnPost?: boolean | undefined;
}

const NO_OPTIONS: Readonly<ChannelOptions> = {};
const DELIVERED = Promise.resolve(true);
// A listener that posts to its own channel does so in a queue, not on the stack; without a bound it would
// keep the process busy for ever where plain recursion would have failed. Posts after an `await` are not counted.
const MAX_DEPTH = 10_000;

/** One node's registry of channels and listeners: takes posts, delivers locally, hands on to the transport. */
export class Hub {
  /** Tells this node from others. */
  readonly node = randomUUID();
  readonly types = new TypeRegistry();
  readonly codec: Codec;
  /** Where failures are told that have no caller. */
  readonly reporter: Reporter;
  readonly sessions: Sessions;
  /** The session of what belongs to the application, not to a request; ends with the hub. */
  readonly root: Session;
  private readonly limits: Limits;
  readonly definitions = new ChannelDefinitions(this.types);
  private readonly channels: ListenerRegistry;
  private readonly dispatcher: Dispatcher;
  private readonly transport: Transport | undefined;
  private readonly postCheck: PostCheck | undefined = undefined;
  private readonly ownPrefix = envelopePrefix(this.node);
  private readonly here: Origin;
  private rejected = 0;
  private published = 0;
  private held: Delivery[] | undefined = undefined;

  constructor(options: HubOptions) {
    this.reporter = options.reporter;
    this.sessions = new Sessions(options.reporter);
    this.root = this.sessions.open();
    this.codec = new Codec(this.types, options.classFilter, options.instanceCheck);
    const { instanceCheck, validateOnPost = true } = options;
    if (instanceCheck && validateOnPost) {
      this.postCheck = new PostCheck(this.types, instanceCheck, options.classFilter);
    }
    this.here = { origin: 'local', node: this.node, codec: this.codec };
    this.transport = options.transport;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.channels = new ListenerRegistry(options.transport);
    this.dispatcher = new Dispatcher(this.channels, options.reporter);
  }

  /**
   * The delivery under way of a message that comes out of operators of the application, which pass on the message alone;
   * none if its listeners are no longer being called.
   */
  deliveryOf(message: unknown): Delivery | undefined {
    const { current } = this.dispatcher;
    return current !== undefined && current.message === message ? current : undefined;
  }

  /** How the link to the other nodes is; without a transport always ready. */
  get status(): Observable<TransportStatus> {
    return isolateObservable(this.transport?.status ?? of<TransportStatus>({ state: 'ready' }), (error) =>
      this.reporter.callbackFailed({ callback: 'A subscriber of the status', error }),
    );
  }

  /** Whether there may be other nodes. */
  get hasTransport(): boolean {
    return this.transport !== undefined;
  }

  /** How many messages from other nodes could not be delivered, since the start. */
  get rejectedCount(): number {
    return this.rejected;
  }

  /** Connects to the other nodes, where there is a transport; see {@link Transport.start}. */
  async start(): Promise<void> {
    await this.transport?.start((payload, subscription, channel) => this.receive(payload, subscription, channel), {
      rejected: (channel, error) => this.reject(channel, error),
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
    const name = typeof channel === 'string' ? channel : channel?.name;
    const list = this.channels.get(name);
    // What most posts are: an instance of the class that the listeners' channel is defined with, and no rules anywhere.
    const definition = list?.definition;
    if (
      definition === undefined ||
      (channel as Partial<Channel>).definition !== definition ||
      !isDirectly(message, definition) ||
      (this.postCheck !== undefined && this.postCheck.mayRefuse)
    ) {
      this.checkPostable(channel, list, message);
      this.postCheck?.assertValid(message, name);
    }
    const isGlobal = options !== undefined && this.isGlobal(options);
    const depth = this.dispatcher.current === undefined ? 0 : this.depthUnder(this.dispatcher.current, name);
    const delivery = new Delivery(message, name, this.here, Date.now(), depth);
    // Handed on before it is delivered here: a listener may post in turn, and what it posts comes later.
    const accepted = isGlobal ? this.publish(channel, delivery) : DELIVERED;
    if (this.held !== undefined) this.hold(delivery);
    this.dispatcher.enqueue(delivery, list);
    return accepted;
  }

  /**
   * Registers a listener in a session.
   *
   * @param label - what logs call it; the function's name otherwise
   * @throws MessagingError for what is no channel or no function
   */
  listen(channel: AnyListenableChannel, call: MessageListener<never>, session: Session, label?: string): Listener {
    const listener = this.prepare(channel, call, session, label);
    this.attach(listener);
    return listener;
  }

  /** Makes a listener that is not called yet; {@link attach} registers it. */
  prepare(channel: AnyListenableChannel, call: MessageListener<never>, session: Session, label?: string): Listener {
    assertListener(call);
    return Listener.of(this.heard(channel), call, session, label);
  }

  /**
   * What somebody who names a channel listens to.
   *
   * @throws MessagingError for what is no channel
   */
  heard(channel: AnyListenableChannel): Heard {
    if (!isChannel(channel)) {
      const segments = checkChannelName(channel) === 'template' ? channel.split('/') : undefined;
      return { channel, definition: undefined, segments };
    }
    const { name, definition } = channel;
    this.definitions.use(definition);
    return { channel: name, definition, segments: definition.segments };
  }

  /**
   * What somebody listens to who has a name or template that has been checked, and may be one of the library's own.
   *
   * @throws ConfigurationError where it is unclear how its channel is defined, or the class of that has the name of another
   */
  heardUnder(name: string): Heard {
    const definition = this.definitions.of(name);
    if (definition === 'unclear') throw definedTwice(name);
    // What comes from other servers is of its class, which nobody may have named here yet.
    if (definition !== undefined) this.definitions.use(definition);
    return { channel: name, definition, segments: isTemplate(name) ? name.split('/') : undefined };
  }

  /**
   * Registers a function of the library's own, which is called with each delivery.
   *
   * @param label - what logs call it
   * @param onSessionClose - called when the session has ended the registration
   */
  tap(heard: Heard, tap: Tap, session: Session, label: string, onSessionClose?: () => void): Listener {
    const listener = Listener.tapping(heard, tap, session, label);
    listener.onSessionClose = onSessionClose;
    this.attach(listener);
    return listener;
  }

  /** The options of the channel that a message is delivered on. */
  optionsOf({ channel, template }: Delivery): Readonly<ChannelOptions> {
    const list = template === undefined ? this.channels.get(channel) : this.channels.getTemplate(template);
    const definition = list?.definition ?? this.definitions.of(channel);
    return definition === undefined || definition === 'unclear' ? NO_OPTIONS : definition.options;
  }

  attach(listener: Listener): void {
    const definition = listener.definition ?? (this.transport && this.definitions.of(listener.channel));
    this.channels.add(listener, definition === 'unclear' ? undefined : definition?.options.interop);
    listener.session.own(listener);
  }

  /**
   * Keeps a copy of every post from now on for listeners that are not ready yet. They get them by
   * {@link release}.
   */
  holdPosts(): void {
    this.held ??= [];
  }

  /** Delivers the posts held to these prepared listeners, in the order of posting, then registers them. */
  release(listeners: readonly Listener[]): void {
    // Posts that a listener makes meanwhile are appended to what is held, so that no listener sees them
    // before the older ones.
    const held = this.held ?? [];
    try {
      for (const delivery of held) {
        for (const listener of listeners) {
          if (!listener.closed && listener.hears(delivery.channel)) this.dispatcher.deliver(delivery, listener);
        }
      }
    } finally {
      this.held = undefined;
    }
    for (const listener of listeners) {
      if (!listener.closed) this.attach(listener);
    }
  }

  /** Closes all sessions, and with them all listeners and streams, then the transport. */
  async close(): Promise<void> {
    this.sessions.close('shutdown');
    await this.transport?.close();
  }

  /** Takes what another node published; what is no message of its channel is reported and goes no further. */
  private receive(payload: string, subscription: string, channel: string): void {
    // Local listeners have got it when it was posted.
    if (payload.startsWith(this.ownPrefix)) return;
    const list = this.channels.get(subscription);
    const template = list === undefined ? this.channels.getTemplate(subscription) : undefined;
    const audience = list ?? template;
    if (audience === undefined) return;
    let delivery: Delivery;
    try {
      if (exceedsBytes(payload, this.limits.maxMessageBytes)) {
        throw new InvalidMessageError(`it is longer than limits.maxMessageBytes (${this.limits.maxMessageBytes})`);
      }
      // Redis takes names of any length, and what is kept of a message has its name.
      if (channel.length > MAX_CHANNEL_NAME_LENGTH)
        throw new InvalidMessageError('the name of its channel is too long');
      const envelope = decodeEnvelope(payload);
      const type = this.classOf(audience.name, audience);
      // A stock client cannot say the class: it is the channel's.
      const foreignType = envelope.node === undefined ? type && typeName(type) : undefined;
      const message = this.codec.decode(envelope.data, envelope.type ?? foreignType, envelope.meta);
      if (type !== undefined && !isInstance(message, type)) throw notCarried(message, type);
      const { node = '', postedAt = Date.now(), serial } = envelope;
      delivery = new Delivery(
        message,
        channel,
        { origin: 'global', node, codec: this.codec, serial, envelope },
        postedAt,
        0,
        template?.name,
      );
    } catch (error) {
      this.reject(channel, error as Error);
      return;
    }
    this.dispatcher.enqueue(delivery, list ?? this.channels.get(channel));
  }

  private reject(channel: string, error: Error): void {
    this.rejected++;
    this.reporter.messageRejected({ channel, error });
  }

  private publish(
    channel: AnyPostableChannel,
    { channel: name, encoded, postedAt, forms }: Delivery,
  ): Promise<boolean> {
    const serial = ++this.published;
    forms.serial = serial;
    const payload = encodeEnvelope(name, this.ownPrefix, { postedAt, serial }, encoded);
    if (exceedsBytes(payload, this.limits.maxMessageBytes)) {
      throw new LimitExceededError(
        `Channel ${quote(name)}: the message is longer than limits.maxMessageBytes (${this.limits.maxMessageBytes})`,
      );
    }
    const interop = typeof channel === 'string' ? undefined : channel.definition.options.interop;
    return this.transport!.publish(name, payload, { interop });
  }

  private isGlobal(options: PostOptions): boolean {
    checkPostOptions(options);
    const { global, scope = global ? 'global' : 'local' } = options;
    if (scope === 'global' && this.transport === undefined) throw new RedisNotEnabledError();
    return scope !== 'local' && this.transport !== undefined;
  }

  private depthUnder(outer: Delivery, name: string): number {
    if (outer.depth >= MAX_DEPTH) {
      throw new LimitExceededError(
        `Channel ${quote(name)}: ${MAX_DEPTH} posts, each made by a listener of the one before; a listener posts without end`,
      );
    }
    return outer.depth + 1;
  }

  private checkPostable(channel: AnyPostableChannel, list: ListenerList | undefined, message: unknown): void {
    if (channel instanceof Channel) {
      const { name, definition } = channel;
      if (list === undefined || list.definition !== definition) {
        this.definitions.use(definition);
        // One room may be something of its own, although it is posted to as a room.
        assertPosted(message, list?.definition?.type, name);
      }
      if (!isDirectly(message, definition)) assertPosted(message, definition.type, name);
      return;
    }
    // A name that is listened to has been checked, except that the library listens to reserved ones.
    if (list === undefined || typeof channel !== 'string' || channel.startsWith(RESERVED_PREFIX)) postableName(channel);
    if (list?.definition === undefined || !isDirectly(message, list.definition)) {
      assertPosted(message, this.classOf(channel, list), channel);
    }
  }

  private classOf(name: string, list: ListenerList | undefined): Class | undefined {
    return list?.definition === undefined ? this.definitions.classOf(name) : list.definition.type;
  }

  private hold(delivery: Delivery): void {
    if (this.held!.length < MAX_DEPTH) {
      this.held!.push(delivery);
    } else {
      const error = new LimitExceededError(
        `more than ${MAX_DEPTH} posts before the application was ready; @OnMessage handlers will not see this one`,
      );
      this.reporter.messageRejected({ channel: delivery.channel, error });
    }
  }
}
