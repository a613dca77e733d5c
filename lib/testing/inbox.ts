import type { ListenableChannel } from '../protocol/channel.js';
import type { Gap } from '../core/gap.js';
import { checkListenOptions, type ListenOptions } from '../core/listen-options.js';
import type { MessageContext } from '../core/message-context.js';
import type { MessageSubscription } from '../core/listener.js';
import type { Messenger } from '../core/messenger.js';
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
  private readonly subscription: MessageSubscription;

  /**
   * Listens from now on, or from where `replay` says, until disposed of or until the session of the messenger closes.
   *
   * @throws ConfigurationError for wrong options
   */
  constructor(messenger: Messenger, channel: ListenableChannel<T>, options: ListenOptions = {}) {
    super();
    checkListenOptions(options, 'new Inbox()');
    const receive = (message: T, context: MessageContext): void => this.receive(message, context);
    const gaps = new Arrived<Gap>();
    this.gaps = gaps;
    const onGap = (gap: Gap): unknown => {
      gaps.add(gap);
      return options.onGap?.(gap);
    };
    this.subscription = messenger.addListener<T>(channel, receive, { ...options, onGap });
  }

  /** Resolves once no later global post can be missed. */
  get ready(): Promise<void> {
    return this.subscription.ready;
  }

  /** Ends the listening. */
  [Symbol.dispose](): void {
    this.subscription.unsubscribe();
  }
}
