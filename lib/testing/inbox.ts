import type { ListenableChannel } from '../protocol/channel.js';
import type { MessageContext } from '../core/message-context.js';
import type { MessageSubscription } from '../core/listener.js';
import type { Messenger } from '../core/messenger.js';

/** A message with what came beside it. */
export interface ReceivedMessage<T> {
  readonly message: T;
  readonly context: MessageContext;
}

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
export class Inbox<T> implements Disposable {
  private readonly received: ReceivedMessage<T>[] = [];
  private readonly waiting: ((received: ReceivedMessage<T>) => void)[] = [];
  private readonly subscription: MessageSubscription;

  /** Listens from now on, until disposed of or until the session of the messenger closes. */
  constructor(messenger: Messenger, channel: ListenableChannel<T>) {
    this.subscription = messenger.addListener<T>(channel, (message, context) => this.receive({ message, context }));
  }

  /** Resolves once no later global post can be missed. */
  get ready(): Promise<void> {
    return this.subscription.ready;
  }

  /** The messages that have come and were not taken. */
  get pending(): readonly T[] {
    return this.received.map(({ message }) => message);
  }

  /** The next message; waits for it. */
  async next(): Promise<T> {
    return (await this.nextReceived()).message;
  }

  /** The next message with its context; waits for it. */
  nextReceived(): Promise<ReceivedMessage<T>> {
    const first = this.received.shift();
    if (first) return Promise.resolve(first);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** The next so many messages; waits for them. */
  async take(count: number): Promise<T[]> {
    const messages: T[] = [];
    while (messages.length < count) messages.push(await this.next());
    return messages;
  }

  [Symbol.dispose](): void {
    this.subscription.unsubscribe();
  }

  private receive(received: ReceivedMessage<T>): void {
    const next = this.waiting.shift();
    if (next) next(received);
    else this.received.push(received);
  }
}
