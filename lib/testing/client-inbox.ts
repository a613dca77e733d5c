import { MessagingClient, type MessageGap, type SubscribeOptions } from '../client/messaging-client.js';
import type { ClientMessageContext } from '../client/registration.js';
import { isChannel, type ListenableChannel } from '../protocol/channel.js';
import { ConnectionClosedError } from '../protocol/errors.js';
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
   * `ChannelDeniedError`; `next` then rejects with it too.
   */
  readonly ready: Promise<void>;
  /** What it was told of messages that it may have missed, in order. `gaps.next()` waits for the next gap. */
  readonly gaps: ReceivedMessages<MessageGap, undefined>;
  private readonly ending = new AbortController();
  private readonly end: (error: Error) => void;
  private readonly channel: string;

  /** Subscribes now, until disposed of or until the client closes. */
  constructor(client: MessagingClient, channel: ListenableChannel<T>, options: Pick<SubscribeOptions, 'replay'> = {}) {
    super();
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
    const leave = client.onStatus(({ state, error }) => {
      if (state === 'closed') this.end(error ?? this.ended('its client was closed'));
    });
    signal.addEventListener(
      'abort',
      () => {
        forget();
        leave();
      },
      { once: true },
    );
    const subscribed = client.subscribe<T>(channel, (message, context) => this.receive(message, context), {
      ...options,
      signal,
    });
    this.ready = subscribed.then(() => undefined);
    // A test that only asks for the next message is told by that.
    this.ready.catch(this.end);
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
