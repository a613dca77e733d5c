import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { of, type Observable } from 'rxjs';
import type { AnyListenableChannel, AnyPostableChannel } from '../protocol/channel.js';
import type { ChannelOptions, HistoryOptions } from '../protocol/channel-definition.js';
import { Codec } from '../protocol/codec.js';
import { envelopePrefix } from '../protocol/envelope.js';
import { ConfigurationError } from '../protocol/errors.js';
import { DEFAULT_LIMITS } from '../protocol/limits.js';
import type { Position } from '../protocol/position.js';
import { REVOCATIONS } from '../protocol/revocation.js';
import { TypeRegistry } from '../protocol/type-registry.js';
import { AtOnce } from './at-once.js';
import { Audience } from './audience.js';
import type { ChannelDefinitions } from './channel-definitions.js';
import type { ReadBounds } from './channel-log.js';
import type { Delivery } from './delivery.js';
import type { GapListener } from './gap.js';
import type { GapReader } from './gap-reader.js';
import { Histories, gapReasonOf, keepsNone } from './histories.js';
import type { HubOptions } from './hub-options.js';
import { Inbound } from './inbound.js';
import { InboundGate } from './inbound-gate.js';
import { isolateObservable } from './isolated-observable.js';
import { Listener, type Heard, type ListenerEvents, type MessageListener, type Tap } from './listener.js';
import { LocalHistoryStore } from './local-history-store.js';
import { MemoryHistories } from './memory-histories.js';
import { Outbound } from './outbound.js';
import { OutboundCheck } from './outbound-check.js';
import { PostCheck } from './post-check.js';
import { Replay, type DeliveriesRead, type Pace, type PastSource, type ReplayStart } from './replay.js';
import type { PostOptions } from './post-options.js';
import type { Reporter } from './reporter.js';
import { Session } from './session.js';
import { Sessions } from './sessions.js';
import { Signatures } from './signatures.js';
import type { Transport, TransportStatus } from './transport.js';

export type { DeliveriesRead } from './replay.js';

/** How many pages of histories are read at a time for single readers; posts wait behind those. */
const MAX_READS = 16;

/**
 * The messaging engine of one node: its {@link Audience}, its {@link Outbound} and {@link Inbound} messages, and the sessions of its
 * listeners.
 */
export class Hub implements PastSource {
  /** Distinguishes this node from others. */
  readonly node = randomUUID();
  readonly types = new TypeRegistry();
  readonly codec: Codec;
  /** Receives failures that have no caller. */
  readonly reporter: Reporter;
  readonly sessions: Sessions;
  /** The session of the application itself, not of a request; ends with {@link retire}, or with the hub. */
  readonly root: Session;
  /** The session of the library's own listeners; ends with the hub. */
  readonly own: Session;
  private readonly transport: Transport | undefined;
  private readonly audience: Audience;
  private readonly outbound: Outbound;
  private readonly inbound: Inbound;
  /** Messages of other nodes, and entries of histories, pass through here. */
  readonly gate: InboundGate;
  readonly outboundCheck: OutboundCheck;
  private readonly histories: Histories | LocalHistoryStore | undefined;
  /** Replays of listeners that have not begun: the earlier messages that they get before new ones. */
  private readonly replays = new WeakMap<Listener, Replay>();
  private readonly reads = new AtOnce(MAX_READS);
  private subscriber: GapReader | undefined = undefined;

  constructor(options: HubOptions) {
    const { node, types } = this;
    const { reporter, transport, limits, classFilter, instanceCheck, validateOnPost = true } = options;
    const { secrets = [], application = '' } = options;
    const { maxMessageBytes } = { ...DEFAULT_LIMITS, ...limits };
    this.reporter = reporter;
    this.transport = transport;
    this.sessions = new Sessions(reporter, options.revocationTtlMs);
    this.root = this.sessions.open();
    this.own = new Session({}, this.sessions);
    const codec = (this.codec = new Codec(types, classFilter, instanceCheck));
    this.gate = new InboundGate(REVOCATIONS, reporter);
    this.outboundCheck = new OutboundCheck(REVOCATIONS, reporter);
    const histories = (this.histories = this.historiesOf(transport));
    const shared = histories instanceof Histories ? histories : undefined;
    const audience = (this.audience = new Audience(types, transport, reporter, shared));
    const postCheck = instanceCheck && validateOnPost ? new PostCheck(types, instanceCheck, classFilter) : undefined;
    const here = { origin: 'local', node, codec } as const;
    const signatures = new Signatures(secrets, application, (fault) => reporter.serversDiffer(fault));
    const envelopes = { prefix: envelopePrefix(node), maxMessageBytes, signatures };
    this.outbound = new Outbound(audience, here, envelopes, transport, postCheck, histories, reporter);
    this.inbound = new Inbound(audience, codec, envelopes, reporter, shared);
    this.gate.attach(this.inbound);
  }

  /** The definitions of channels. */
  get definitions(): ChannelDefinitions {
    return this.audience.definitions;
  }

  /** The state of the link to the other nodes; always ready without a transport. */
  get status(): Observable<TransportStatus> {
    return isolateObservable(this.transport?.status ?? of<TransportStatus>({ state: 'ready' }), (error) =>
      this.reporter.callbackFailed({ callback: 'A subscriber of the status', error }),
    );
  }

  /** See {@link Transport.hearers}; unknown without a transport. */
  async hearers(name: string): Promise<number | undefined> {
    return this.transport?.hearers?.(name);
  }

  /** Whether the transport can count the nodes that hear a name. */
  get countsHearers(): boolean {
    return this.transport?.hearers !== undefined;
  }

  /** See {@link Transport.catchUp}; waits for the gate too. Resolves at once if it is open and messages of all nodes come in one order. */
  async catchUp(): Promise<boolean> {
    return (await this.transport?.catchUp?.()) !== false && this.gate.whenDelivered();
  }

  /** See {@link Transport.settled}. Resolves at once if no message overtakes another one. */
  async settled(): Promise<void> {
    await this.transport?.settled?.();
  }

  /** Resolves when the listeners of a name hear it: at once, unless the link was interrupted. */
  async whenHeard(name: string): Promise<void> {
    await this.transport?.subscribe(name);
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
    if (this.transport !== undefined) await this.gate.connect(this.transport, this.outboundCheck);
  }

  /**
   * Posts a message. When it returns, the local listeners have run, in the order of registration. If a listener of the same channel
   * called it, they run once the current message has reached all of them. For nested posts by listeners of other channels, see
   * {@link Dispatcher}.
   *
   * @returns `true`: delivered here and, if global, accepted by the broker. `false`: the broker did not accept it; local listeners still
   *   got it. Never rejects.
   * @throws MessagingError for misuse, before anything is delivered
   */
  post(channel: AnyPostableChannel, message: unknown, options?: PostOptions): Promise<boolean> {
    return this.outbound.post(channel, message, options);
  }

  /**
   * The current delivery of a message that comes out of the application's operators, which pass on only the message; `undefined` if its
   * listeners are no longer being called.
   */
  deliveryOf(message: unknown): Delivery | undefined {
    const { current } = this.audience;
    return current !== undefined && current.message === message ? current : undefined;
  }

  /** Reports to a reader the losses of every subscription that `subscribe` makes, in any session. */
  subscribeFor<T>(reader: GapReader, subscribe: () => T): T {
    const outer = this.subscriber;
    this.subscriber = reader;
    try {
      return subscribe();
    } finally {
      this.subscriber = outer;
    }
  }

  /** The reader that learns of the losses of a new subscription, in addition to its own `onGap`. */
  gapReaderOf(session: Session): GapReader {
    return this.subscriber ?? session;
  }

  /** The history options of a channel, or of each channel of a template; `undefined`: no history. */
  historyOf({ channel, definition }: Pick<Heard, 'channel' | 'definition'>): HistoryOptions | undefined {
    return this.audience.historyOf(channel, definition);
  }

  /**
   * The history options of a channel.
   *
   * @param what - the feature that needs them, for the error
   * @throws ConfigurationError if the channel keeps no history, or its definition is unclear
   */
  historyFor(heard: Heard, what: string): HistoryOptions {
    const { channel } = heard;
    const history = this.audience.historyFor(heard, what);
    this.historiesFor(channel);
    return history;
  }

  /**
   * Reads the history of a channel, for one reader.
   *
   * @param after - a position, or how many of the last messages
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async readHistory(channel: string, after: Position | number, page?: ReadBounds): Promise<DeliveriesRead> {
    return this.reads.run(async () => {
      // In one process the store answers at once, so others must get a turn.
      await nextTurn();
      return this.readNow(channel, after, page);
    });
  }

  /** Like {@link readHistory}, for the library itself: it does not queue behind other readers. */
  async readNow(channel: string, after: Position | number, page?: ReadBounds): Promise<DeliveriesRead> {
    return this.inbound.replay(await this.historiesFor(channel).read(channel, after, page), channel);
  }

  /** Why the store cannot keep histories, if that is known; see {@link HistoryStore.check}. */
  async historyProblem(): Promise<Error | undefined> {
    return this.transport?.history?.check?.();
  }

  /**
   * How far the history of a channel has come.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async positionOf(channel: string): Promise<Position> {
    const [position] = await this.historiesFor(channel).store.positions([channel]);
    return position!;
  }

  /**
   * Resolves with the position after which the listeners of a channel hear every message. They must be registered.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async follow(channel: string): Promise<Position> {
    const histories = this.historiesFor(channel);
    return histories instanceof Histories ? histories.follow(channel) : this.positionOf(channel);
  }

  /** Whether channels can keep histories here. */
  get keepsHistories(): boolean {
    return this.histories !== undefined;
  }

  /** Whether this node has delivered the messages of a channel up to a position, and none after it. */
  hasHeard(channel: string, position: Position): boolean {
    return this.historiesFor(channel).hasHeard(channel, position);
  }

  /** See {@link Histories.whenWhole}. */
  async whenWhole(subscription: string, ms: number): Promise<boolean> {
    return !(this.histories instanceof Histories) || this.histories.whenWhole(subscription, ms);
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
   * @param replay - see {@link replayStart}
   * @throws MessagingError if the value is not a channel or not a function
   */
  listen(
    channel: AnyListenableChannel,
    call: MessageListener<never>,
    session: Session,
    label?: string,
    onGap?: GapListener,
    replay?: ReplayStart,
  ): Listener {
    const listener = this.prepare(channel, call, session, label, onGap, replay);
    this.attach(listener);
    return listener;
  }

  /** Like {@link listen}, for a listener that is not called yet; {@link attach} or {@link release} registers it. */
  prepare(
    channel: AnyListenableChannel,
    call: MessageListener<never>,
    session: Session,
    label?: string,
    onGap?: GapListener,
    replay?: ReplayStart,
  ): Listener {
    const listener = this.audience.prepare(channel, call, session, label);
    listener.onGap = onGap;
    return this.prepareReplay(listener, replay);
  }

  /** See {@link Audience.heard}. */
  heard(channel: AnyListenableChannel): Heard {
    return this.audience.heard(channel);
  }

  /** See {@link Audience.heardUnder}. */
  heardUnder(name: string): Heard {
    return this.audience.heardUnder(name);
  }

  /**
   * Registers a function of the library's own, which is called with each delivery.
   *
   * @param label - what logs call it
   * @param replay - see {@link replayStart}
   * @param pace - how fast it takes earlier messages
   */
  tap(
    heard: Heard,
    tap: Tap,
    session: Session,
    label: string,
    events?: ListenerEvents,
    replay?: ReplayStart,
    pace?: Pace,
  ): Listener {
    const listener = this.prepareReplay(Listener.tapping(heard, tap, session, label, events), replay, pace);
    this.attach(listener);
    return listener;
  }

  /** See {@link Audience.deliverTo}. */
  deliver(delivery: Delivery, listener: Listener, tap: Tap | undefined): void {
    this.audience.deliverTo(delivery, listener, tap);
  }

  /** Registers a listener that is {@link prepare}d. */
  attach(listener: Listener): void {
    this.audience.attach(listener);
    this.replays.get(listener)?.begin();
  }

  /** See {@link Audience.holdPosts}. */
  holdPosts(): void {
    this.audience.holdPosts();
  }

  /** See {@link Audience.release}. */
  release(listeners: readonly Listener[]): void {
    this.audience.release(listeners);
    for (const listener of listeners) this.replays.get(listener)?.begin();
  }

  private prepareReplay(listener: Listener, start: ReplayStart | undefined, pace?: Pace): Listener {
    if (start !== undefined) this.replays.set(listener, new Replay(this, listener, start, pace));
    return listener;
  }

  private historiesOf(transport: Transport | undefined): Histories | LocalHistoryStore | undefined {
    if (transport === undefined) return new LocalHistoryStore(new MemoryHistories());
    if (transport.history === undefined) return undefined;
    return new Histories(this.gate.guarded(transport.history), {
      message: (...heard) => this.inbound.deliver(...heard),
      gap: (subscription, channel, failure, position, told) => {
        const reason = gapReasonOf(failure);
        if (subscription === channel) this.audience.tellGap(subscription, reason, position);
        else this.audience.tellGap(subscription, reason, undefined, channel, told);
      },
      lost: (template, told, channel) => this.audience.tellGap(template, 'broker', undefined, channel, told),
      failed: (error) => this.reporter.callbackFailed({ callback: 'The delivery of what a history has', error }),
    });
  }

  private historiesFor(channel: string): Histories | LocalHistoryStore {
    if (this.histories === undefined) throw new ConfigurationError(keepsNone(channel));
    return this.histories;
  }

  /**
   * Closes all sessions except the library's {@link own}: the application hears no more, while this node still answers the others.
   * {@link close} must follow.
   */
  retire(): void {
    this.sessions.close('shutdown');
  }

  /** Closes all sessions, and with them all listeners and streams, then the transport. */
  async close(): Promise<void> {
    this.retire();
    this.own.end('shutdown');
    this.gate.close();
    this.histories?.close();
    await this.transport?.close();
  }
}
