import { describe } from '../protocol/channel-name.js';
import { abortSignal, checkOptions, type OptionCheck } from '../protocol/check-options.js';
import type { ListenableChannel, MessageParams } from '../protocol/channel.js';
import { decodeMessage } from '../protocol/codec/decode-message.js';
import { ConfigurationError, ConnectionClosedError, InvalidMessageError, MessagingError } from '../protocol/errors.js';
import { ITERATE_OPTIONS, type IterateOptions } from '../protocol/iteration.js';
import type { Class } from '../protocol/message.js';
import type { GapReason, Position } from '../protocol/position.js';
import { REPLAY_FORM, readReplay } from '../protocol/replay.js';
import { NAME_IT, isMinified, typeName } from '../protocol/serializable.js';
import { KnownTypes } from '../protocol/known-types.js';
import { thrownText } from '../protocol/thrown.js';
import { CLIENT_OPTIONS, type MessagingClientOptions } from './client-options.js';
import type { ClientStatus } from './client-status.js';
import { isDeclaredAnew } from './declared-anew.js';
import { isolate, quietly } from './isolate.js';
import type { Link } from './link.js';
import { Listeners } from './listeners.js';
import { MessageStream } from './message-stream.js';
import { placeOf } from './positions.js';
import {
  Registration,
  type ClientMessageListener,
  type ClientSubscription,
  type ListenHandle,
  type MessageReceiver,
} from './registration.js';
import { ServerLink } from './server-link.js';
import { Subscriptions } from './subscriptions.js';
import { targetOf, type Target } from './target.js';
import { HURRIED_MS } from './times.js';

/** A source's messages come with its key. */
type SourceParams = MessageParams<':key'>;

/** Options of `MessagingClient.subscribe`. */
export interface SubscribeOptions extends ReplayOptions {
  /**
   * Ends the subscription when it aborts. Before the server has confirmed the subscription, `subscribe` rejects with its reason.
   * @defaultValue none
   */
  signal?: AbortSignal | undefined;
}

/** Where a subscription starts. */
interface ReplayOptions {
  /**
   * Starts with earlier messages of a channel with history: a number of its last messages, `'latest'` for one, or all after a position
   * (`context.position` of a message, or a position from the server's application). New messages follow, without a hole.
   * @defaultValue only new messages
   */
  replay?: number | 'latest' | Position | undefined;
}

/** Options of `createStream`. Earlier messages count in `maxBuffered` like all others that wait. */
export interface StreamOptions extends IterateOptions, ReplayOptions {}

const REPLAY_OPTIONS: Record<keyof ReplayOptions, OptionCheck> = {
  replay: (value) => readReplay(value) === undefined && REPLAY_FORM,
};
const SUBSCRIBE_OPTIONS: Record<keyof SubscribeOptions, OptionCheck> = { signal: abortSignal, ...REPLAY_OPTIONS };
const STREAM_OPTIONS: Record<keyof StreamOptions, OptionCheck> = { ...ITERATE_OPTIONS, ...REPLAY_OPTIONS };

/** Messages of a channel may be missing. */
export interface MessageGap {
  /** The name of the channel. */
  readonly channel: string;
  /** The template of the subscription, if the client subscribed to a whole template. */
  readonly template?: string;
  /** The reason that the server gives, or `unknown` if it gives none. */
  readonly reason: GapReason | 'unknown';
  /** The place from which the channel goes on, if the server gives it. */
  readonly position?: Position;
}

/**
 * Subscribes to channels of a server, over one connection for any number of channels. It connects with the first subscription.
 * It comes back after every interruption: with exponential back-off, and at once when the browser comes online or shows the page
 * again. It notices a connection that is silent for too long, and then asks for all of its channels again. Messages posted while
 * it is away arrive then, in order, if the server still has them. Otherwise {@link MessagingClient.onGap} reports a gap.
 *
 * @throws ConfigurationError for a wrong option, and for two classes with one name
 * @example
 * ```ts
 * import { MessagingClient } from 'nestjs-messaging/client';
 *
 * const client = new MessagingClient({ url: '/messages' });
 * client.onStatus(({ state, error }) => console.log(state, error));
 * client
 *   .subscribe(RoomMessages.for({ roomId: 42 }), ({ author, text }, { params }) => console.log(params.roomId, author, text))
 *   .catch((error) => console.log('no such room', error));
 * ```
 */
export class MessagingClient implements Disposable {
  readonly #types = new KnownTypes(isDeclaredAnew);
  readonly #report: (error: unknown, channel?: string) => void;
  readonly #connect: (waitMs?: number) => void;
  readonly #subscriptions: Subscriptions;
  readonly #statusListeners: Listeners<ClientStatus>;
  readonly #gapListeners: Listeners<MessageGap>;
  #status: ClientStatus = { state: 'idle' };

  constructor(options: MessagingClientOptions) {
    checkOptions(options, 'MessagingClient', CLIENT_OPTIONS);
    const { types = [], identityMap, link = (...args) => new ServerLink(...args), onError = logError } = options;
    this.#report = (error, channel) =>
      isolate(() => onError(error, channel === undefined ? {} : { channel }), logError);
    this.#statusListeners = new Listeners(this.#report);
    this.#gapListeners = new Listeners(this.#report);
    for (const type of types) this.#learn(type);
    this.#subscriptions = new Subscriptions({
      decode: ({ data, type, meta }) => decodeMessage(this.#types, data, type, meta, identityMap),
      report: this.#report,
      gap: (gap) => this.#tellGap(gap),
      status: (status) => this.#changeStatus(status),
    });
    this.#connect = (waitMs) => {
      const made = link(options, this.#subscriptions, waitMs) as Link | undefined;
      if (!made?.want) throw new ConfigurationError('MessagingClient: option "link" returns no link');
      this.#subscriptions.link = made;
    };
    this.#connect();
  }

  /** The state of the connection to the server. */
  get status(): ClientStatus {
    return this.#status;
  }

  /**
   * Calls a listener with each message of a channel, in the order of posting on the channel. A template stands for all of
   * its channels. `onError` receives errors of the listener; other listeners still run.
   *
   * @returns once the server has confirmed; while there is no connection, it waits for one. If no answer of the server is needed,
   *   as for a second listener on a channel, it resolves at once.
   * @throws ChannelDeniedError, InvalidChannelError or LimitExceededError, as the server answers
   * @throws ConnectionClosedError if the client is closed, or closes before the server has answered
   * @throws ConfigurationError and others for wrong arguments
   */
  subscribe<T, const Name extends string = string>(
    channel: ListenableChannel<T, Name>,
    listener: ClientMessageListener<T, MessageParams<Name>>,
    options?: SubscribeOptions,
  ): Promise<ClientSubscription>;
  /**
   * Calls a listener with each message of one class from a source.
   *
   * @param source - an instance of a class with `@MessageSource` or a keyed `@Serializable`, or the result of `sourceRef`. For all
   *   instances of such a class, pass the class itself
   */
  subscribe<T>(
    source: object,
    type: Class<T>,
    listener: ClientMessageListener<T, SourceParams>,
    options?: SubscribeOptions,
  ): Promise<ClientSubscription>;
  subscribe(channel: unknown, ...rest: unknown[]): Promise<ClientSubscription> {
    try {
      return this.#subscribe(channel, rest, 'subscribe').ready!;
    } catch (error) {
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- an error of ours
      return Promise.reject(error);
    }
  }

  /**
   * Like {@link MessagingClient.subscribe}, but returns a handle at once: for code that cannot wait, such as an effect of a component.
   * `handle.ready` is the promise that `subscribe` would return. If it rejects, `onError` is told too, and nobody has to handle it.
   *
   * @throws InvalidChannelError, ConfigurationError and others for wrong arguments
   * @example
   * ```ts
   * import { MessagingClient } from 'nestjs-messaging/client';
   *
   * const client = new MessagingClient({ url: '/messages' });
   * const handle = client.listen(RoomMessages.for({ roomId: 42 }), ({ text }) => console.log(text));
   * handle.unsubscribe();
   * ```
   */
  listen<T, const Name extends string = string>(
    channel: ListenableChannel<T, Name>,
    listener: ClientMessageListener<T, MessageParams<Name>>,
    options?: SubscribeOptions,
  ): ListenHandle;
  /** Calls a listener with each message of one class from a source, and returns a handle at once. */
  listen<T>(
    source: object,
    type: Class<T>,
    listener: ClientMessageListener<T, SourceParams>,
    options?: SubscribeOptions,
  ): ListenHandle;
  listen(channel: unknown, ...rest: unknown[]): ListenHandle {
    return this.#subscribe(channel, rest, 'listen') as ListenHandle;
  }

  /**
   * Ends the subscriptions of a listener to a channel, or all subscriptions and streams of the channel. Without any,
   * nothing happens. A call of `subscribe` that still waits for one of them resolves with a closed subscription.
   */
  unsubscribe<T, const Name extends string = string>(
    channel: ListenableChannel<T, Name>,
    listener?: ClientMessageListener<T, MessageParams<Name>>,
  ): Promise<void>;
  /** Ends the subscriptions of a listener to the messages of one class from a source, or all of them. */
  unsubscribe<T>(source: object, type: Class<T>, listener?: ClientMessageListener<T, SourceParams>): Promise<void>;
  async unsubscribe(channel: unknown, ...rest: unknown[]): Promise<void> {
    const { name } = this.#target(channel, rest);
    const [listener] = rest;
    for (const registration of this.#subscriptions.of(name)) {
      if (listener === undefined || registration.receiver.message === listener)
        this.#subscriptions.remove(registration);
    }
  }

  /**
   * Returns the messages of a channel for a `for await` loop or for RxJS. If the channel has a history, each loop and each
   * observer with `replay` starts with earlier messages.
   *
   * @throws ConfigurationError and InvalidChannelError at the call for wrong arguments
   */
  createStream<T>(channel: ListenableChannel<T>, options?: StreamOptions): MessageStream<T>;
  /** Returns the messages of one class from a source for a `for await` loop or for RxJS. */
  createStream<T>(source: object, type: Class<T>, options?: StreamOptions): MessageStream<T>;
  createStream(channel: unknown, ...rest: unknown[]): MessageStream<unknown> {
    const target = this.#target(channel, rest);
    const [options = {}] = rest as [StreamOptions?];
    checkOptions(options, 'createStream', STREAM_OPTIONS);
    return new MessageStream(target.name, (receiver) => this.#listen(target, receiver, options.replay), options);
  }

  /**
   * Calls a listener with each status, starting with the next one.
   *
   * @returns a function that ends this
   */
  onStatus(listener: (status: ClientStatus) => unknown): () => void {
    return this.#statusListeners.add(checkListener(listener));
  }

  /**
   * Calls a listener when messages of a channel may be missing: the client was away for too long, its server has gone, or the
   * client was too slow.
   *
   * @returns a function that ends this
   */
  onGap(listener: (gap: MessageGap) => unknown): () => void {
    return this.#gapListeners.add(checkListener(listener));
  }

  /**
   * Connects at once if the client waits to reconnect, but at the earliest 250 ms after the last failure. If the client is open, it
   * checks the connection and replaces it if nothing arrives within 1.5 s. After the server has closed the client, this call makes it
   * usable again: subscribe again. It does not shorten a wait that the server asked for, and does nothing after
   * {@link MessagingClient.close}.
   */
  retryNow(): void {
    const { state, reason } = this.#status;
    if (state !== 'closed') return this.#subscriptions.link.retryNow();
    if (reason === 'close') return;
    this.#connect(HURRIED_MS);
    this.#status = { state: 'idle' };
    this.#statusListeners.tell(this.#status);
  }

  /** Ends all subscriptions and the connection, at once and for good. */
  close(): void {
    this.#subscriptions.link.close();
    // Also those to whom a gap has not got yet.
    this.#gapListeners.clear();
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Subscribes a listener. The promise of its handle is refused if nobody needs to look at it: `listen` reports the failure. */
  #subscribe(channel: unknown, rest: unknown[], action: 'subscribe' | 'listen'): Registration {
    const target = this.#target(channel, rest);
    const [listener, options = {}] = rest as [ClientMessageListener<never>, SubscribeOptions?];
    checkListener(listener);
    checkOptions(options, action, SUBSCRIBE_OPTIONS);
    const { signal, replay } = options;
    let registration!: Registration;
    let isPending = true;
    const ready = new Promise<ClientSubscription>((resolve, reject) => {
      const abort = (): void => void registration.unsubscribe();
      signal?.addEventListener('abort', abort);
      const receiver: MessageReceiver = {
        message: listener,
        confirmed: () => {
          isPending = false;
          resolve(registration);
        },
        ended: (error) => {
          signal?.removeEventListener('abort', abort);
          // Of a promise that has been settled nothing comes any more.
          if (error ?? signal?.aborted) reject(error ?? (signal!.reason as Error));
          else if (this.#status.state === 'closed') reject(new ConnectionClosedError('The client is closed'));
          else resolve(registration);
          // What the application ended itself is nobody's failure: a caller that waits is told, but it is no unhandled rejection.
          if (!error || action === 'listen') queueMicrotask(() => void quietly(() => ready));
          if (error && isPending && action === 'listen') this.#report(error, target.name);
          return isPending;
        },
      };
      registration = this.#listen(target, receiver, replay, signal);
    });
    registration.ready = ready;
    return registration;
  }

  /** Takes what names the channel off the arguments. */
  #target(channel: unknown, rest: unknown[]): Target {
    const target = targetOf(channel, rest);
    const { name, type } = target;
    if (type) this.#learn(type, name);
    return target;
  }

  #learn(type: Class, channel?: string): void {
    if (this.#types.register(type) && isMinified(type))
      this.#report(new ConfigurationError(`class "${typeName(type)}": ${NAME_IT}`), channel);
  }

  #listen(
    target: Target,
    receiver: MessageReceiver,
    replay: ReplayOptions['replay'],
    signal?: AbortSignal,
  ): Registration {
    const registration = new Registration(target, receiver, this.#subscriptions, readReplay(replay));
    const { state, error }: ClientStatus = signal?.aborted ? { state: 'closed' } : this.#status;
    if (state === 'closed') this.#subscriptions.fail([registration], error);
    else this.#subscriptions.add(registration);
    return registration;
  }

  #changeStatus(status: ClientStatus): void {
    const { state } = this.#status;
    if (state === 'closed' || (state === 'idle' && status.state === 'idle')) return;
    this.#status = status;
    if (status.state === 'closed') this.#subscriptions.end(status.error);
    this.#statusListeners.tell(status);
  }

  #tellGap(told: unknown): void {
    if (this.#status.state === 'closed') return;
    const gap = told as MessageGap | null;
    const position = placeOf(gap?.position);
    if (typeof gap?.channel === 'string') this.#gapListeners.tell(position ? { ...gap, position } : gap);
    else this.#report(new InvalidMessageError('a gap cannot be read', { cause: told }));
  }
}

/** @throws MessagingError (`INVALID_LISTENER`) for anything but a function */
function checkListener<T>(listener: T): T {
  if (typeof listener === 'function') return listener;
  throw new MessagingError('INVALID_LISTENER', `A listener is a function, not ${describe(listener)}`);
}

/** Never throws: no handler is left for another error. */
function logError(error: unknown): void {
  try {
    // oxlint-disable-next-line no-console -- what to do with it only the application knows
    console.error(error);
  } catch {
    // The console may read a getter that throws, or be one that the application has put there.
    if (typeof error !== 'string') logError(thrownText(error));
  }
}
