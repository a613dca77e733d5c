import { MessagingClient, type MessageGap, type SubscribeOptions } from '../client/messaging-client.js';
import type { ClientMessageContext, ClientSubscription, Registration } from '../client/registration.js';
import { isChannel, type ListenableChannel } from '../protocol/channel.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError, ConnectionClosedError } from '../protocol/errors.js';
import { Arrived, ReceivedMessages, type Received } from './received-messages.js';

/** A message that a client got, with what came beside it. */
export type ClientReceivedMessage<T> = Received<T, ClientMessageContext>;

/**
 * Collects the messages of a channel that a client gets, in order, as `Inbox` does on a server.
 *
 * @example
 * ```ts
 * using client = await connectClient(app);
 * const inbox = new ClientInbox(client, UserUpdates);
 * await inbox.ready;
 * await app.get(MessagingService).postMessage(UserUpdates, new UserUpdate(7, 'Ada'));
 * expect(await inbox.next()).toEqual(new UserUpdate(7, 'Ada'));
 * ```
 */
export class ClientInbox<T> extends ReceivedMessages<T, ClientMessageContext> implements AsyncDisposable {
  /**
   * Resolves once the server has confirmed the subscription. If it refuses, rejects with its error, for instance a
   * `ChannelDeniedError`; `next` and `take` then reject with it too. They also reject if the server takes the channel away later,
   * or if `client.unsubscribe` ends the subscription.
   */
  readonly ready: Promise<void>;
  /** What it was told of messages that it may have missed, in order. `gaps.next()` waits for the next gap. */
  readonly gaps: ReceivedMessages<MessageGap, undefined>;
  private readonly ending = new AbortController();
  private readonly end: (error: Error) => void;
  private readonly channel: string;

  /**
   * Subscribes now, until disposed of or until the client closes.
   *
   * @throws ConfigurationError for anything but a client
   */
  constructor(client: MessagingClient, channel: ListenableChannel<T>, options: Pick<SubscribeOptions, 'replay'> = {}) {
    super();
    if (typeof (client as Partial<MessagingClient> | null)?.onGap !== 'function') {
      throw new ConfigurationError(
        `new ClientInbox(): give it a MessagingClient, as connectClient() makes it, not ${describe(client)}`,
      );
    }
    const { signal } = this.ending;
    const gaps = new Arrived<MessageGap>();
    this.gaps = gaps;
    const name = isChannel(channel) ? channel.name : channel;
    const forget = client.onGap((gap) => {
      if ((gap.template ?? gap.channel) === name) gaps.add(gap);
    });
    this.channel = name as string;
    this.end = (error) => {
      this.fail(error);
      gaps.end(error);
    };
    signal.addEventListener('abort', forget, { once: true });
    const subscribed = client.subscribe<T>(channel, (message, context) => this.receive(message, context), {
      ...options,
      signal,
    });
    this.ready = subscribed.then((subscription) => this.follow(subscription, client));
    // A test that only asks for the next message is told by that.
    this.ready.catch(this.end);
  }

  /** Learns that the subscription has ended. Its handle has no event for that, because applications learn it by `onError`. */
  private follow(subscription: ClientSubscription, client: MessagingClient): void {
    const ended = (error?: Error): void => {
      const why = client.status.state === 'closed' ? 'its client was closed' : 'its subscription has ended';
      this.end(error ?? this.ended(why));
    };
    if (subscription.closed) return ended();
    const { receiver } = subscription as Registration;
    const tell = receiver.ended.bind(receiver);
    receiver.ended = (error, call) => {
      ended(error);
      return tell(error, call);
    };
  }

  /** Ends the subscription. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end(this.ended('it was disposed of'));
    this.ending.abort();
  }

  private ended(why: string): ConnectionClosedError {
    return new ConnectionClosedError(`ClientInbox of ${this.channel}: ${why}`);
  }
}
