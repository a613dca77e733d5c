import { isChannel, type AnyListenableChannel } from '../protocol/channel.js';
import type { ChannelDefinition, ChannelOptions, HistoryOptions } from '../protocol/channel-definition.js';
import { checkChannelName, isTemplate, quote } from '../protocol/channel-name.js';
import { ConfigurationError, LimitExceededError } from '../protocol/errors.js';
import type { Class } from '../protocol/message.js';
import type { GapReason, Position } from '../protocol/position.js';
import type { TypeRegistry } from '../protocol/type-registry.js';
import { ChannelDefinitions, definedTwice } from './channel-definitions.js';
import type { Delivery } from './delivery.js';
import type { Histories } from './histories.js';
import { Dispatcher } from './dispatcher.js';
import { Listener, assertListener, type Heard, type MessageListener, type Tap } from './listener.js';
import type { ListenerList } from './listener-list.js';
import { ListenerRegistry } from './listener-registry.js';
import type { Reporter } from './reporter.js';
import type { Session } from './session.js';
import type { Told } from './told-losses.js';
import type { Transport } from './transport.js';

const NO_OPTIONS: Readonly<ChannelOptions> = {};
const MAX_HELD = 10_000;

/** A post that this node has appended to a history. */
export interface Early {
  readonly payload: string;
  readonly channel: string;
  readonly position: Position;
}

/** The listeners of this node, what they listen to, and how messages reach them from any origin. */
export class Audience {
  readonly definitions: ChannelDefinitions;
  private readonly channels: ListenerRegistry;
  private readonly dispatcher: Dispatcher;
  private held: Delivery[] | undefined = undefined;
  private readonly early: Early[] = [];

  /**
   * @param transport - learns which names have listeners
   * @param histories - present if channels keep histories that other nodes append to as well
   */
  constructor(
    types: TypeRegistry,
    private readonly transport: Transport | undefined,
    private readonly reporter: Reporter,
    private readonly histories: Histories | undefined,
  ) {
    this.definitions = new ChannelDefinitions(types, transport?.noInterop);
    this.channels = new ListenerRegistry(transport, histories);
    this.dispatcher = new Dispatcher(this.channels, reporter);
  }

  /** The message whose listeners are being called right now. */
  get current(): Delivery | undefined {
    return this.dispatcher.current;
  }

  /** The listeners of a channel; also the channel's place in the order of deliveries. */
  of(name: string): ListenerList | undefined {
    return this.channels.get(name);
  }

  /** The listeners of a template. */
  ofTemplate(template: string): ListenerList | undefined {
    return this.channels.getTemplate(template);
  }

  /** Whether a name or template has a listener. */
  hears(subscription: string): boolean {
    return (this.of(subscription) ?? this.ofTemplate(subscription))?.interest !== undefined;
  }

  /** Whether messages of this subscription to a channel have positions in a history. */
  keepsHistory(subscription: string, channel: string): boolean {
    const list = this.of(subscription) ?? this.ofTemplate(subscription);
    return list?.isOrdered === true || this.definitions.historyOf(channel) !== undefined;
  }

  /** The message class of a name; `undefined`: any message. */
  classOf(name: string, list: Partial<Pick<ListenerList, 'definition'>> | undefined): Class | undefined {
    return list?.definition === undefined ? this.definitions.classOf(name) : list.definition.type;
  }

  /** The history options of a channel; `undefined`: it keeps no history. */
  historyOf(name: string, definition: ChannelDefinition | undefined): HistoryOptions | undefined {
    return definition === undefined ? this.definitions.historyOf(name) : definition.options.history;
  }

  /** See `Hub.historyFor`. */
  historyFor({ channel, definition, segments }: Heard, what: string): HistoryOptions {
    if (segments !== undefined && (definition?.name ?? channel) === channel) {
      throw new ConfigurationError(
        `${what} needs one channel, and template ${quote(channel)} has many; fill in its parameters`,
      );
    }
    if (definition === undefined && this.definitions.of(channel) === 'unclear') throw definedTwice(channel);
    const history = this.historyOf(channel, definition);
    if (history !== undefined) return history;
    throw new ConfigurationError(
      `${what} needs a channel with history, and ${quote(channel)} keeps none; define it with history: { maxMessages, ttlMs }`,
    );
  }

  /** Whether posts are held for listeners that are not ready yet. */
  get isHolding(): boolean {
    return this.held !== undefined;
  }

  /**
   * Takes posts that this node appended while listeners were not ready. They were not subscribed then, so the broker may not have sent
   * them these posts.
   */
  takeEarly(early: Early): void {
    this.hear(early);
    if (this.held === undefined) return;
    if (this.early.length < MAX_HELD) this.early.push(early);
    else this.reportTooMany(early.channel);
  }

  /** The options of the channel that a message is delivered on. */
  optionsOf({ channel, template }: Delivery): Readonly<ChannelOptions> {
    const list = template === undefined ? this.of(channel) : this.ofTemplate(template);
    const definition = list?.definition ?? this.definitions.of(channel);
    return definition === undefined || definition === 'unclear' ? NO_OPTIONS : definition.options;
  }

  /** Delivers a post of this node; see {@link Dispatcher.enqueue}. */
  deliverPost(delivery: Delivery, list: ListenerList | undefined): void {
    if (this.held !== undefined) this.hold(this.held, delivery);
    this.dispatcher.enqueue(delivery, list);
  }

  /**
   * Delivers a message of another node; see {@link Dispatcher.enqueue}.
   *
   * @param list - that of its channel
   */
  deliver(delivery: Delivery, list: ListenerList | undefined): void {
    if (this.held !== undefined && delivery.position !== undefined) this.hold(this.held, delivery);
    this.dispatcher.enqueue(delivery, list);
  }

  /** Delivers to one listener; see {@link Dispatcher.deliver}. */
  deliverTo(delivery: Delivery, listener: Listener, tap: Tap | undefined): void {
    this.dispatcher.deliver(delivery, listener, tap);
  }

  /**
   * Tells the listeners of a name or template that messages may be missing; see {@link Dispatcher.enqueueGap}.
   *
   * @param position - from where the channel goes on, if it keeps a history
   * @param channel - for a template: the only one of its channels that may lack messages, if there is only one
   * @param told - for a template: listeners that know of the loss; those that are told now are added
   */
  tellGap(subscription: string, reason: GapReason, position?: Position, channel?: string, told?: Told): void {
    const list = this.of(subscription) ?? this.ofTemplate(subscription);
    if (list === undefined) return;
    const gap = { channel: subscription, reason, ...(position !== undefined && { position }) };
    const channels = channel === undefined ? undefined : new Set([channel]);
    this.dispatcher.enqueueGap({ gap, channels, told }, list);
  }

  /**
   * Resolves a channel to what its listeners are registered for.
   *
   * @throws MessagingError if the value is not a channel
   */
  heard(channel: AnyListenableChannel): Heard {
    if (!isChannel(channel)) {
      const segments = checkChannelName(channel);
      return { channel, definition: undefined, segments };
    }
    const { name, definition } = channel;
    this.definitions.use(definition);
    return { channel: name, definition, segments: definition.segments };
  }

  /**
   * Like {@link heard}, for a name or template that has been checked; it may be one of the library's own.
   *
   * @throws ConfigurationError if the definition of its channel is unclear, or if its class has the name of another class
   */
  heardUnder(name: string): Heard {
    const definition = this.definitions.of(name);
    if (definition === 'unclear') throw definedTwice(name);
    // Messages of other servers use its class, which this server may never have named.
    if (definition !== undefined) this.definitions.use(definition);
    return { channel: name, definition, segments: isTemplate(name) ? name.split('/') : undefined };
  }

  /**
   * Makes a listener that is not called yet; {@link attach} registers it.
   *
   * @param label - what logs call it; the function's name otherwise
   * @throws MessagingError if the value is not a channel or not a function
   */
  prepare(channel: AnyListenableChannel, call: MessageListener<never>, session: Session, label?: string): Listener {
    assertListener(call);
    return Listener.of(this.heard(channel), call, session, label);
  }

  /** @throws ConfigurationError if the transport cannot carry the channel */
  attach(listener: Listener): void {
    const found = listener.definition ?? (this.transport && this.definitions.of(listener.channel));
    const definition = found === 'unclear' ? undefined : found;
    if (definition !== undefined) this.definitions.assertCarried(definition);
    this.channels.add(listener, definition?.options);
    listener.session.own(listener);
    // Otherwise listeners that are not ready would miss the messages before the first one that the broker sends.
    if (this.held !== undefined) for (const early of this.early) this.hear(early, listener.channel);
  }

  /**
   * Keeps a copy of every post from now on for listeners that are not ready yet. {@link release} delivers them.
   */
  holdPosts(): void {
    this.held ??= [];
  }

  /** Delivers the posts held to these prepared listeners, in the order of posting, then registers them. */
  release(listeners: readonly Listener[]): void {
    // Posts that a listener makes meanwhile go to the end of the held posts, so that every listener sees the older ones first.
    const held = this.held ?? [];
    try {
      for (const delivery of held) {
        for (const listener of listeners) {
          if (!listener.closed && listener.hears(delivery)) this.dispatcher.deliver(delivery, listener, listener.tap);
        }
      }
    } finally {
      this.held = undefined;
    }
    for (const listener of listeners) {
      if (!listener.closed) this.attach(listener);
    }
    for (const early of this.early.splice(0)) this.hear(early);
  }

  /** If the broker has sent the post as well, it is delivered once. */
  private hear({ payload, channel, position }: Early, only?: string): void {
    for (const subscription of this.channels.subscriptionsTo(channel)) {
      if (only !== undefined && subscription !== only) continue;
      this.histories?.receive(payload, subscription, channel, position);
    }
  }

  private hold(held: Delivery[], delivery: Delivery): void {
    if (held.length < MAX_HELD) held.push(delivery);
    else this.reportTooMany(delivery.channel);
  }

  private reportTooMany(channel: string): void {
    const error = new LimitExceededError(
      `more than ${MAX_HELD} posts before the application was ready; @OnMessage handlers will not see this one`,
    );
    this.reporter.messageRejected({ channel, error });
  }
}
