import type { ListenableChannel } from '../protocol/channel.js';
import type { Gap } from '../core/gap.js';
import { checkListenOptions, type ListenOptions } from '../core/listen-options.js';
import type { MessageContext } from '../core/message-context.js';
import type { Listener, MessageSubscription } from '../core/listener.js';
import type { Messenger } from '../core/messenger.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError, MessagingError } from '../protocol/errors.js';
import { Arrived, ReceivedMessages, type Received } from './received-messages.js';

/** A message with what came beside it. */
export type ReceivedMessage<T> = Received<T, MessageContext>;

/**
 * Collects the messages of a channel for a test, in order. A test waits for the next one instead of
 * sleeping, and misses none that came before it asked.
 *
 * @example
 * ```ts
 * const inbox = new Inbox(app.get(MessagingService), UserUpdates);
 * await inbox.ready;
 * await otherServer.get(MessagingService).postMessage(UserUpdates, new UserUpdate(7, 'Ada'), { global: true });
 * expect(await inbox.next()).toEqual(new UserUpdate(7, 'Ada'));
 * ```
 */
export class Inbox<T> extends ReceivedMessages<T, MessageContext> implements Disposable {
  /** What it was told of messages that it may have missed, in order. `gaps.next()` waits for the next gap. */
  readonly gaps: ReceivedMessages<Gap, undefined>;
  private readonly end: (error: Error) => void;
  private readonly subscription: MessageSubscription;

  /**
   * Listens from now on, or from where `replay` says, until disposed of or until the session of the messenger closes.
   *
   * @throws ConfigurationError for anything but a messenger, and for wrong options
   */
  constructor(messenger: Messenger, channel: ListenableChannel<T>, options: ListenOptions = {}) {
    super();
    if (typeof (messenger as Partial<Messenger> | null)?.addListener !== 'function') {
      throw new ConfigurationError(
        `new Inbox(): give it the MessagingService or SessionMessages to listen with, not ${describe(messenger)}`,
      );
    }
    checkListenOptions(options, 'new Inbox()');
    const receive = (message: T, context: MessageContext): void => this.receive(message, context);
    const gaps = new Arrived<Gap>();
    this.gaps = gaps;
    const onGap = (gap: Gap): unknown => {
      gaps.add(gap);
      return options.onGap?.(gap);
    };
    this.end = (error) => {
      this.fail(error);
      gaps.end(error);
    };
    this.subscription = messenger.addListener<T>(channel, receive, { ...options, onGap });
    const closed = new MessagingError(
      'SESSION_CLOSED',
      `Inbox of ${this.subscription.channel}: its session has closed`,
    );
    (this.subscription as Listener).onSessionClose = () => this.end(closed);
  }

  /** Resolves once no later global post can be missed. */
  get ready(): Promise<void> {
    return this.subscription.ready;
  }

  /** Ends the listening. What waits for a message then rejects. */
  [Symbol.dispose](): void {
    this.subscription.unsubscribe();
    this.end(new MessagingError('SESSION_CLOSED', `Inbox of ${this.subscription.channel}: it was disposed of`));
  }
}
