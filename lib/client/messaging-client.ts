import { describe } from '../protocol/channel-name.js';
import type { ListenableChannel, MessageParams } from '../protocol/channel.js';
import { decodeMessage } from '../protocol/codec/decode-message.js';
import { ConfigurationError, ConnectionClosedError, InvalidMessageError, MessagingError } from '../protocol/errors.js';
import type { IterateOptions } from '../protocol/iteration.js';
import type { Class } from '../protocol/message.js';
import type { GapReason, Position } from '../protocol/position.js';
import { REPLAY_FORM, readReplay } from '../protocol/replay.js';
import { IF_MINIFIED, isMinified, typeName } from '../protocol/serializable.js';
import { TypeRegistry } from '../protocol/type-registry.js';
import type { ClientErrorContext, MessagingClientOptions } from './client-options.js';
import type { ClientStatus } from './client-status.js';
import { isDeclaredAnew } from './declared-anew.js';
import { isolate } from './isolate.js';
import type { Link, LinkReceiver } from './link.js';
import { Listeners } from './listeners.js';
import { MessageStream } from './message-stream.js';
import { placeOf } from './positions.js';
import {
  Registration,
  type ClientMessageListener,
  type ClientSubscription,
  type MessageReceiver,
} from './registration.js';
import { HURRIED_MS } from './retry.js';
import { ServerLink } from './server-link.js';
import { Subscriptions } from './subscriptions.js';
import { namesChannel, targetOf, type Target } from './target.js';

/** A source's messages come with its key. */
type SourceParams = MessageParams<':key'>;

/** Options of `MessagingClient.subscribe`. */
export interface SubscribeOptions extends ReplayOptions {
  /** Ends the subscription when it is aborted; before the server has confirmed it, `subscribe` rejects with its reason. */
  signal?: AbortSignal | undefined;
}

/** With what a subscription begins. */
interface ReplayOptions {
  /**
   * Begins with the past of a channel with history: so many of its last messages, `'latest'` for one, or all after a position
   * (`context.position` of a message, or one that the server's application has told). Then what comes, without a hole.
   * @defaultValue what is posted from now on
   */
  replay?: number | 'latest' | Position | undefined;
}

/** Options of `createStream`. What is replayed counts in `maxBuffered` like all that waits to be taken. */
export interface StreamOptions extends IterateOptions, ReplayOptions {}

/** Says that messages of a channel may be missing. */
export interface MessageGap {
  readonly channel: string;
  /** The template that was subscribed to, if the channel is one of those that came by it. */
  readonly template?: string;
  /** As the server says; `unknown` if it does not. */
  readonly reason: GapReason | 'unknown';
  /** Where the channel goes on, if the server says it. */
  readonly position?: Position;
}

/**
 * Subscribes to channels of a server, over one connection however many they are. It connects with the first subscription,
 * comes back after whatever interrupts it (with exponential back-off, at once when the browser is online again or its page is
 * looked at), notices a connection that is silent for too long, and asks for all of its channels anew then. What is posted
 * while it is away arrives then, in order, if the server still has it; else {@link MessagingClient.onGap} tells.
 *
 * @throws ConfigurationError for two classes of one name
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
  readonly #types = new TypeRegistry(isDeclaredAnew);
  readonly #report: (error: unknown, context: ClientErrorContext) => void;
  readonly #makeLink: (waitMs?: number) => Link;
  readonly #subscriptions: Subscriptions;
  readonly #statusListeners = new Listeners<ClientStatus>((error) => this.#report(error, {}));
  readonly #gapListeners = new Listeners<MessageGap>((error) => this.#report(error, {}));
  #status: ClientStatus = { state: 'idle' };

  constructor(options: MessagingClientOptions) {
    const { types = [], identityMap, link = (...args) => new ServerLink(...args), onError = logError } = options;
    this.#report = (error, context) => isolate(() => onError(error, context), logError);
    for (const type of types) this.#learn(type, {});
    const receiver: LinkReceiver = {
      status: (status) => this.#changeStatus(status),
      answer: (answer) => this.#subscriptions.answer(answer),
      message: (frame, _id, position) => this.#subscriptions.deliver(frame, position),
      replayed: (told) => this.#subscriptions.replayed(told),
      gap: (gap) => this.#subscriptions.gap(gap),
    };
    this.#makeLink = (waitMs) => link(options, receiver, waitMs);
    this.#subscriptions = new Subscriptions(
      this.#makeLink(),
      ({ data, type, meta }) => decodeMessage(this.#types, data, type, meta, undefined, identityMap),
      this.#report,
      (gap) => this.#tellGap(gap),
    );
  }

  /** How it stands with the server. */
  get status(): ClientStatus {
    return this.#status;
  }

  /**
   * Calls a listener with each message of a channel, in the order of posting on the channel. A template stands for all of
   * its channels. What the listener throws goes to `onError`; other listeners run all the same.
   *
   * @returns once the server has confirmed; while there is no connection, it waits for one. Without an answer from the
   *   server to wait for, as for a second listener on a channel, at once.
   * @throws ChannelDeniedError, InvalidChannelError or LimitExceededError, as the server answers
   * @throws ConnectionClosedError where the client is closed, or gets closed before the server has answered
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
   * @param source - an instance of a class with `@MessageSource` or a keyed `@Serializable`, the result of `sourceRef`, or
   *   such a class: all of its instances
   */
  subscribe<T>(
    source: object,
    type: Class<T>,
    listener: ClientMessageListener<T, SourceParams>,
    options?: SubscribeOptions,
  ): Promise<ClientSubscription>;
  subscribe(channel: unknown, ...rest: unknown[]): Promise<ClientSubscription> {
    // What the application ended itself is nobody's failure: whoever waits is told, but it is no unhandled rejection.
    const forgive = (): void => queueMicrotask(() => void subscribed.catch(() => {}));
    const subscribed = new Promise<ClientSubscription>((resolve, reject) => {
      const target = this.#target(channel, rest);
      const [listener, { signal, replay } = {}] = rest as [ClientMessageListener<never>, SubscribeOptions?];
      checkListener(listener);
      if (signal?.aborted) {
        forgive();
        throw signal.reason;
      }
      const past = pastOf(replay, 'subscribe');
      let isPending = true;
      const abort = (): void => void registration.unsubscribe();
      signal?.addEventListener('abort', abort);
      const registration = this.#listen(
        target,
        {
          message: listener,
          confirmed: () => {
            isPending = false;
            resolve(registration);
          },
          ended: (error) => {
            signal?.removeEventListener('abort', abort);
            // Of a promise that has been settled nothing comes any more.
            if (error ?? signal?.aborted) reject(error ?? (signal!.reason as Error));
            else if (this.#status.state === 'closed') reject(new ConnectionClosedError('The client was closed'));
            else resolve(registration);
            if (!error) forgive();
            return isPending;
          },
        },
        past,
      );
    });
    return subscribed;
  }

  /**
   * Ends the subscriptions of a listener to a channel, or all subscriptions and streams of the channel. Without any,
   * nothing happens. A call of `subscribe` that still waits for one of them is answered with a closed subscription.
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
   * The messages of a channel for a `for await` loop or for RxJS. If the channel has a history, `replay` has each loop and
   * each observer begin with the past.
   *
   * @throws ConfigurationError and InvalidChannelError at the call for wrong arguments
   */
  createStream<T>(channel: ListenableChannel<T>, options?: StreamOptions): MessageStream<T>;
  /** The messages of one class from a source for a `for await` loop or for RxJS. */
  createStream<T>(source: object, type: Class<T>, options?: StreamOptions): MessageStream<T>;
  createStream(channel: unknown, ...rest: unknown[]): MessageStream<unknown> {
    const target = this.#target(channel, rest);
    const [options] = rest as [StreamOptions?];
    const past = pastOf(options?.replay, 'createStream');
    return new MessageStream(target.name, (receiver) => this.#listen(target, receiver, past), options);
  }

  /**
   * Calls a listener with each status from the next one on.
   *
   * @returns ends that
   */
  onStatus(listener: (status: ClientStatus) => unknown): () => void {
    return this.#statusListeners.add(checkListener(listener));
  }

  /**
   * Calls a listener when messages of a channel may be missing: the client was away for too long, its server has gone, or it
   * was too slow.
   *
   * @returns ends that
   */
  onGap(listener: (gap: MessageGap) => unknown): () => void {
    return this.#gapListeners.add(checkListener(listener));
  }

  /**
   * Connects at once if the client waits to do so, 250 ms after the last failure at the earliest. If the client is open, it
   * looks whether the connection lives: one on which nothing comes within 1.5 s is replaced. A client that the server has
   * closed may be used again: subscribe anew. Nothing happens before the time that the server has asked to wait for, nor
   * after {@link MessagingClient.close}.
   */
  retryNow(): void {
    const { state, reason } = this.#status;
    if (state !== 'closed') return this.#subscriptions.link.retryNow();
    if (reason === 'close') return;
    this.#subscriptions.link = this.#makeLink(HURRIED_MS);
    this.#status = { state: 'idle' };
    this.#statusListeners.tell(this.#status);
  }

  /** Ends all subscriptions and the connection, at once and for good. */
  close(): void {
    this.#subscriptions.link.close();
    // Also those to whom a gap has not got yet.
    this.#gapListeners.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Takes what names the channel off the arguments. */
  #target(channel: unknown, rest: unknown[]): Target {
    const target = targetOf(channel, namesChannel(channel) ? undefined : rest.shift());
    const { name, type } = target;
    if (type) this.#learn(type, { channel: name });
    return target;
  }

  #learn(type: Class, context: ClientErrorContext): void {
    if (this.#types.register(type) && isMinified(type))
      this.#report(new ConfigurationError(`class ${typeName(type)}: ${IF_MINIFIED}`), context);
  }

  #listen(target: Target, receiver: MessageReceiver, past?: number | Position): Registration {
    const registration = new Registration(target, receiver, (ending) => this.#subscriptions.remove(ending), past);
    const { state, error } = this.#status;
    if (state !== 'closed') this.#subscriptions.add(registration);
    else if (!this.#subscriptions.remove(registration, error) && error) this.#report(error, { channel: target.name });
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
    else this.#report(new InvalidMessageError('a gap cannot be read', { cause: told }), {});
  }
}

/** @throws ConfigurationError for what is no option `replay` */
function pastOf(replay: unknown, action: string): number | Position | undefined {
  const past = readReplay(replay);
  if (replay === undefined || past !== undefined) return past;
  throw new ConfigurationError(`${action}: option "replay" must be ${REPLAY_FORM}, not ${describe(replay)}`);
}

/** @throws MessagingError (`INVALID_LISTENER`) for anything but a function */
function checkListener<T>(listener: T): T {
  if (typeof listener === 'function') return listener;
  throw new MessagingError('INVALID_LISTENER', `A listener is a function, not ${describe(listener)}`);
}

function logError(error: unknown): void {
  // oxlint-disable-next-line no-console -- what to do with it only the application knows
  console.error(error);
}
