import { randomUUID } from 'node:crypto';
import { Subscription, type Observable } from 'rxjs';
import type { Delivery } from '../core/delivery.js';
import { whenHeard } from '../core/heard.js';
import type { Hub } from '../core/hub.js';
import type { Tap } from '../core/listener.js';
import type { Reporter } from '../core/reporter.js';
import type { Session } from '../core/session.js';
import { DirectStream, type Reader } from '../core/stream.js';
import { isTemplate } from '../protocol/channel-name.js';
import type { ChannelAnswer, ReadyEvent } from '../protocol/gateway.js';
import type { Batch } from '../sse/batch.js';
import type { ClientFeeds, FeedMessage, FeedSubscription } from './client-feeds.js';
import type { Missed } from './client-recovery.js';
import { Frame, encodeFrame } from '../sse/frame.js';
import { eventFrame } from '../sse/message-frame.js';

/** How a client connection is kept. */
export interface ClientConnectionOptions {
  /** Whether frames say the channel and restore types, for our client; else they read as those of `@Sse()`. */
  readonly form: 'native' | 'client';
  readonly heartbeatMs: number;
  readonly maxSubscriptions: number;
}

/** That of a feed, or a listener. */
type ChannelSubscription = Pick<FeedSubscription, 'ready' | 'unsubscribe'> & Partial<Pick<FeedSubscription, 'release'>>;

/** What a client had and lost. */
export interface Lost {
  readonly channels: ReadonlySet<string>;
  /** Finds what was sent under these names since. */
  readonly find: (names: readonly string[]) => Promise<Missed>;
}

/** One client's stream and what it is subscribed to, which may change while the stream is open. */
export class ClientConnection {
  /** Unguessable; leads any node to this one. */
  readonly id: string;
  private readonly subscriptions = new Map<string, ChannelSubscription>();
  /** Takes what goes over the stream, once there is one. */
  private reader: Reader<unknown> | undefined = undefined;
  /** What waits until what was posted before has been sent; none once it has. */
  private held: FeedMessage[] | undefined = [];

  constructor(
    private readonly hub: Hub,
    private readonly feeds: ClientFeeds,
    private readonly reporter: Reporter,
    readonly session: Session,
    private readonly options: ClientConnectionOptions,
  ) {
    this.id = `${hub.node}.${randomUUID()}`;
    session.onClose(() => this.unsubscribe([...this.subscriptions.keys()]));
  }

  /**
   * What the stream carries: subscribes to the channels, sends what was missed, and says in `messaging:ready` what became
   * of all that. For one reader.
   *
   * @param answers - to the channels that were asked for; those without an error may be subscribed to
   * @param lost - what is to be recovered
   */
  stream(answers: readonly ChannelAnswer[], lost?: Lost): Observable<unknown> {
    return new DirectStream(
      (reader) => {
        if (this.session.closed) {
          reader.complete();
        } else {
          this.reader = reader;
          void this.begin(answers, lost);
        }
        // Nothing ends it but the session, which also ends the subscriptions.
        return Subscription.EMPTY;
      },
      () => (error) => this.reporter.callbackFailed({ callback: 'The stream of a client connection', error }),
    );
  }

  /**
   * Subscribes to channels that this client may subscribe to; to one that it has, once.
   *
   * @param answers - to the channels that were asked for; one with an error stays as it is
   * @returns the answers, once nothing posted to these channels from now on can be missed
   */
  async subscribe(answers: readonly ChannelAnswer[]): Promise<ChannelAnswer[]> {
    const subscribed: ChannelSubscription[] = [];
    const result = answers.map((answer): ChannelAnswer => {
      const { channel } = answer;
      if (answer.error !== undefined) return answer;
      let subscription = this.subscriptions.get(channel);
      if (subscription === undefined) {
        if (this.subscriptions.size >= this.options.maxSubscriptions) return { channel, error: 'LIMIT_EXCEEDED' };
        subscription = this.join(channel);
        if (subscription === undefined) return { channel, error: 'CHANNEL_DENIED' };
        this.subscriptions.set(channel, subscription);
      }
      subscribed.push(subscription);
      return answer;
    });
    if (subscribed.length === 0) return result;
    // Else the client could not say later that it has had these channels from here on.
    if (this.held === undefined && this.options.form === 'client') this.reader?.next(this.feeds.positionFrame);
    await whenHeard(this.hub, subscribed);
    return result;
  }

  /** Ends subscriptions; names without one are passed over. */
  unsubscribe(names: readonly string[]): void {
    for (const name of names) {
      this.subscriptions.get(name)?.unsubscribe();
      this.subscriptions.delete(name);
    }
  }

  private async begin(answers: readonly ChannelAnswer[], lost: Lost | undefined): Promise<void> {
    let channels = await this.subscribe(answers);
    const { held = [] } = this;
    if (lost !== undefined) {
      const isLost = ({ channel, error }: ChannelAnswer): boolean => error === undefined && lost.channels.has(channel);
      const { messages, complete } = await lost.find(channels.filter(isLost).map(({ channel }) => channel));
      this.sendMissed(messages, held);
      const recovered = new Set(complete);
      channels = channels.map((answer) =>
        isLost(answer) ? { ...answer, recovered: recovered.has(answer.channel) } : answer,
      );
    }
    this.held = undefined;
    for (const subscription of this.subscriptions.values()) subscription.release?.();
    for (const { frame } of held) this.reader?.next(frame);
    const { id: connection, feeds, options } = this;
    const ready: ReadyEvent = { connection, heartbeatMs: options.heartbeatMs, position: feeds.position, channels };
    this.reader?.next(new Frame(encodeFrame({ event: 'messaging:ready', data: JSON.stringify(ready) })));
  }

  /** Sends what was missed, but for what has also come by the new subscriptions. */
  private sendMissed(messages: Missed['messages'], held: readonly FeedMessage[]): void {
    const frames = new Set(held.map(({ frame }) => frame));
    const ids = new Set(held.map(({ id }) => id));
    for (const { id, frame } of messages) {
      if (!frames.has(frame) && (id === undefined || !ids.has(id))) this.reader?.next(frame);
    }
  }

  /** @returns nothing where it cannot be listened to, which has been reported */
  private join(channel: string): ChannelSubscription | undefined {
    try {
      if (this.options.form === 'client') return this.feeds.join(channel, this.read, this.held);
      return this.hub.tap(this.hub.heardUnder(channel), this.tapOf(channel), this.session, 'client subscription');
    } catch (error) {
      this.reporter.messageRejected({ channel, error: error as Error });
      return undefined;
    }
  }

  /** What takes the messages of a channel; of a template as a whole, of the channels that nothing else decides about. */
  private tapOf(name: string): Tap {
    if (!isTemplate(name)) return this.send;
    return (delivery) => {
      if (this.hub.definitions.decides(name, delivery.channel)) this.send(delivery);
    };
  }

  private readonly send = (delivery: Delivery): void => {
    try {
      this.reader?.next(eventFrame(this.hub, delivery));
    } catch (error) {
      this.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
  };

  private readonly read = (batch: Batch): void => void this.reader?.next(batch);
}
