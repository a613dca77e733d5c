import type { Observable } from 'rxjs';
import { RevokedAuthenticationUser, type RevokedAuthentication } from '../protocol/authentication.js';
import {
  isChannel,
  type AnyListenableChannel,
  type AnyPostableChannel,
  type Channel,
  type ChannelTemplate,
  type ListenableChannel,
  type MessageParams,
  type PostableChannel,
} from '../protocol/channel.js';
import { classOf } from '../protocol/class-of.js';
import { checkChannelName, describe } from '../protocol/channel-name.js';
import { UnserializableError } from '../protocol/errors.js';
import type { IterateOptions } from '../protocol/iteration.js';
import type { Class, Message } from '../protocol/message.js';
import type { Position } from '../protocol/position.js';
import { messagesFrom } from '../protocol/source.js';
import type { Hub } from './hub.js';
import { iterate, type MessageIterator } from './iteration.js';
import { Listener, assertListener, type MessageListener, type MessageSubscription } from './listener.js';
import { checkListenOptions, replayStart, type ListenOptions } from './listen-options.js';
import type { PostOptions } from './post-options.js';
import type { Revocations } from './revocations.js';
import { describeServerCopy, SERVER_COPY } from './server-copy.js';
import type { Session } from './session.js';
import { createStream } from './stream.js';

/**
 * Posting and listening. Registrations belong to a session. `SessionMessages` and `MessagingService` differ only in whose
 * session that is.
 */
export abstract class Messenger {
  /** @internal */
  protected constructor(
    /** @internal */
    protected readonly hub: Hub,
    /** @internal */
    protected readonly revocations: Revocations,
  ) {}

  /** @internal */
  get [SERVER_COPY](): string {
    return describeServerCopy('MessagingService');
  }

  /**
   * The session that registrations belong to.
   * @internal
   */
  protected abstract sessionFor(action: string): Session;

  /**
   * Posts a message: by default to the listeners of this process, with `{ global: true }` to those of
   * every server as well.
   *
   * When it returns, the local listeners have run, in the order of registration. Listeners of one channel
   * see the posts of one server in the order in which they were made. A post made by a listener of the same channel waits
   * until all listeners have got the current message. If listeners of different channels post inside each other
   * more than 32 deep, the innermost posts wait until the outermost has been delivered. Local listeners share the instance.
   *
   * @returns `true`: delivered here and, if global, accepted by Redis. `false`: Redis did not accept it in
   *   time; local listeners still got it, and those of other servers may. On a channel with history, `false`: it is not appended, and
   *   nobody gets it; or it was sent without an answer in time, and may still be appended. The log tells which. Only a post with an `id`
   *   can be repeated without a second copy. Never rejects, so the call needs no `await`.
   * @throws RedisNotEnabledError for a global post without Redis
   * @throws InvalidChannelError for a wrong name, or a template without its parameters
   * @throws UnserializableError for a global post of a value that cannot be sent, with the path to it
   * @throws LimitExceededError for a global post longer than `limits.maxMessageBytes`, and for a post at the end of a chain of
   *   10,000, each made by a listener of the one before
   *
   * It throws all of them at once, before anything is delivered.
   * @example
   * ```ts
   * await messages.postMessage(UserUpdates, new UserUpdate(7, 'Ada'), { global: true });
   * ```
   */
  postMessage<T>(channel: Channel<T>, message: NoInfer<T>, options?: PostOptions): Promise<boolean>;
  postMessage(channel: string, message: unknown, options?: PostOptions): Promise<boolean>;
  postMessage<T>(channel: PostableChannel<T>, message: NoInfer<T>, options?: PostOptions): Promise<boolean>;
  postMessage(channel: AnyPostableChannel, message: unknown, options?: PostOptions): Promise<boolean> {
    return this.hub.post(channel, message, options);
  }

  /**
   * Posts a message to all listeners of this source and message class; with Redis, on every server.
   *
   * @param source - an instance of a class with `@MessageSource` or a keyed `@Serializable`, or a `SourceRef`
   * @param options - as in {@link postMessage}; the default scope is `auto`
   * @returns as {@link postMessage}
   * @throws ConfigurationError for a source without a key
   */
  sendMessage(source: object, message: Message, options: PostOptions = { scope: 'auto' }): Promise<boolean> {
    const type = typeof message === 'object' && message !== null ? classOf(message) : undefined;
    if (type === undefined) {
      throw new UnserializableError(
        'message',
        `${describe(message)} has no class; sendMessage sends instances of a class`,
      );
    }
    return this.hub.post(messagesFrom(source, type as unknown as Class), message, options);
  }

  /**
   * Calls a function with each message of a channel until the session closes. The library catches, logs and reports
   * its errors, sync or async; other listeners still run. A function added twice is called twice.
   *
   * @throws SessionClosedError after the session has closed
   * @throws InvalidChannelError for a wrong name
   * @throws ConfigurationError for wrong options
   * @example
   * ```ts
   * messaging.addListener(UserUpdates, ({ id, name }) => names.set(id, name), { onGap: () => names.clear() });
   * ```
   */
  addListener<T, const Name extends string = string>(
    channel: ListenableChannel<T, Name>,
    listener: MessageListener<T, MessageParams<Name>>,
    options?: ListenOptions,
  ): MessageSubscription;
  addListener(
    channel: AnyListenableChannel,
    listener: MessageListener<never>,
    options?: ListenOptions,
  ): MessageSubscription {
    if (options !== undefined) checkListenOptions(options, 'addListener');
    const { onGap, replay } = options ?? {};
    const { hub } = this;
    const start = replay === undefined ? undefined : replayStart(hub, hub.heard(channel), replay, 'addListener');
    return hub.listen(channel, listener, this.openSessionFor('addListener'), undefined, onGap, start);
  }

  /**
   * Ends the registrations of this function on this channel that were made in this session. Without any, nothing happens.
   *
   * @throws InvalidChannelError for a value that is not a channel
   * @throws MessagingError (`INVALID_LISTENER`) for anything but a function
   */
  removeListener<T, const Name extends string = string>(
    channel: ListenableChannel<T, Name>,
    listener: MessageListener<T, MessageParams<Name>>,
  ): void {
    assertListener(listener);
    if (!isChannel(channel)) checkChannelName(channel);
    const name = typeof channel === 'string' ? channel : channel.name;
    for (const registration of this.sessionFor('removeListener').registrations()) {
      if (registration instanceof Listener && registration.isOf(name, listener)) registration.unsubscribe();
    }
  }

  /**
   * Returns the messages of a channel as a hot Observable: each subscription listens from then on. It completes when
   * the session closes.
   *
   * @param options - `onGap` is called once for each loss and subscription
   * @throws SessionClosedError after the session has closed
   * @throws ConfigurationError for wrong options
   */
  createStream<T>(channel: Channel<T> | ChannelTemplate<T>, options?: ListenOptions): Observable<T>;
  createStream<T = unknown>(channel: string, options?: ListenOptions): Observable<T>;
  createStream<T>(channel: ListenableChannel<T>, options?: ListenOptions): Observable<T>;
  createStream<T>(channel: ListenableChannel<T>, options?: ListenOptions): Observable<T> {
    return createStream(this.hub, channel, this.openSessionFor('createStream'), options);
  }

  /**
   * Returns the messages of a channel for `for await`, with a bounded buffer. It listens from the start of the loop, or from the
   * first `next()`. It ends when the session closes. Each loop needs a call of its own.
   *
   * @param options - `onGap` is called when the loop reaches the place of the loss; also, with the reason `slow-consumer`,
   *   if `overflow: 'dropOldest'` has dropped messages
   *
   * @throws SessionClosedError after the session has closed
   */
  iterate<T>(channel: Channel<T> | ChannelTemplate<T>, options?: IterateOptions & ListenOptions): MessageIterator<T>;
  iterate<T = unknown>(channel: string, options?: IterateOptions & ListenOptions): MessageIterator<T>;
  iterate<T>(channel: ListenableChannel<T>, options?: IterateOptions & ListenOptions): MessageIterator<T>;
  iterate<T>(channel: ListenableChannel<T>, options?: IterateOptions & ListenOptions): MessageIterator<T> {
    return iterate(this.hub, channel, this.openSessionFor('iterate'), options);
  }

  /**
   * Resolves with the current position of a channel with history. State that you load afterwards includes all messages up to there,
   * so a listener with `replay` of this position hears the rest. `{ epoch: '', offset: 0 }`: nothing was posted yet.
   *
   * @throws (rejects) ConfigurationError for a channel without history, and for a template
   * @throws (rejects) TransportUnavailableError while Redis cannot be read, and with Redis after the application has closed
   * @example
   * ```ts
   * const position = await messaging.position(UserUpdates);
   * const users = await repository.load();
   * messaging.addListener(UserUpdates, (update) => users.apply(update), { replay: position });
   * ```
   */
  async position<T>(channel: Channel<T> | string): Promise<Position> {
    const { hub } = this;
    const heard = hub.heard(channel);
    hub.historyFor(heard, 'position()');
    return hub.positionOf(heard.channel);
  }

  /**
   * Ends every session whose authentication is revoked, with its listeners and streams: on this server
   * before it returns, even while Redis is away, and on every other one.
   *
   * @param what - all sign-ins of the user (default), one of them, or those that hold one of some scopes
   * @returns `true`: every other server that is connected to Redis has confirmed that it applies the revocation. `false`: not all have
   *   in time, or Redis did not accept it. They learn of it as soon as possible, unless this server ends before Redis has it
   * @throws ConfigurationError for arguments that name no user or sign-in
   */
  revokeAuthentication(
    userId: string | number,
    what: RevokedAuthentication = new RevokedAuthenticationUser(),
  ): Promise<boolean> {
    return this.revocations.revoke(userId, what);
  }

  /**
   * The session that something new is registered in.
   *
   * @throws SessionClosedError after it has closed
   * @internal
   */
  protected openSessionFor(action: string): Session {
    const session = this.sessionFor(action);
    session.assertOpen(action);
    return session;
  }
}
