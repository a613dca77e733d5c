import { Subscription, type Observable, type Subscriber, type TeardownLogic, type Unsubscribable } from 'rxjs';
import type { ListenableChannel } from '../protocol/channel.js';
import { isTemplate } from '../protocol/channel-name.js';
import type { Delivery } from './delivery.js';
import type { Gap, GapListener } from './gap.js';
import type { Hub } from './hub.js';
import { IsolatedObservable, type Failed, type Failing } from './isolated-observable.js';
import { checkListenOptions, replayStart, type ListenOptions } from './listen-options.js';
import { knownPosition } from './known-position.js';
import type { Heard, Listener } from './listener.js';
import { MessageContext } from './message-context.js';
import type { Pace, ReplayStart } from './replay.js';
import type { Following } from './gap-reader.js';
import type { Session } from './session.js';

const LABEL = 'createStream()';

/** A reader of a stream. */
export interface Reader<T> {
  next(message: T): unknown;
  complete(): void;
  /** Resolves when it has taken everything, or has gone. A reader without this method takes everything at once. */
  drained?(): Promise<void>;
}

/**
 * An Observable that can also be read without RxJS subscribers, which cost more than the rest of a delivery to one of many event streams
 * (bench/fanout.ts). `pipe()` makes a plain Observable of it.
 */
export class DirectStream<T> extends IsolatedObservable<T> {
  constructor(
    /** Starts to call a reader with each message, then with the end. */
    readonly read: (reader: Reader<T>) => Unsubscribable,
    failing: Failing,
  ) {
    super(failing, (subscriber) => read(subscriber));
  }
}

/**
 * The messages of a channel, for the subscribers of `createStream()`. Code that gets the stream itself, not the result of operators, may
 * read {@link heard} by other means.
 */
export class ChannelStream<T> extends IsolatedObservable<T> {
  /** The delivery that its subscribers are getting right now: operators pass on only the message. */
  private delivery: Delivery | undefined = undefined;

  constructor(
    private readonly hub: Hub,
    readonly heard: Heard,
    readonly session: Session,
    /** See {@link ListenOptions.onGap}. */
    readonly onGap?: GapListener | undefined,
    /** Where each subscriber begins; absent: with new posts. */
    readonly replay?: ReplayStart | undefined,
  ) {
    super(
      () => this.failed(),
      (subscriber) => this.tell(subscriber),
    );
  }

  /** Whether readers can come back to a position: only for one channel with history. */
  get keepsHistory(): boolean {
    const { hub, heard } = this;
    return hub.historyOf(heard) !== undefined && !isTemplate(heard.channel) && hub.keepsHistories;
  }

  private tell(subscriber: Subscriber<T>): TeardownLogic {
    const { hub, session, heard, onGap, replay } = this;
    if (session.closed) {
      subscriber.complete();
      return Subscription.EMPTY;
    }
    const take = (delivery: Delivery): void => {
      const outer = this.delivery;
      this.delivery = delivery;
      try {
        subscriber.next(delivery.message as T);
      } finally {
        this.delivery = outer;
      }
    };
    const onSessionClose = (): void => subscriber.complete();
    const reader = hub.gapReaderOf(session);
    const following = this.keepsHistory ? reader.follow?.(heard.channel) : undefined;
    const tellGap = (gap: Gap): unknown => {
      reader.gap(gap);
      return onGap?.(gap);
    };
    const start = following?.after ?? replay;
    const hasGaps = hub.hasTransport || start !== undefined;
    const events = { onSessionClose, onGap: hasGaps ? tellGap : undefined };
    if (following === undefined) return hub.tap(heard, take, session, LABEL, events, start);
    const follow = (delivery: Delivery): void => {
      following.begin(delivery);
      try {
        take(delivery);
      } finally {
        following.end();
      }
    };
    const pace: Pace = { wanted: () => following.drained(), canTake: () => following.keepsUp };
    const listener = hub.tap(heard, follow, session, LABEL, events, start, pace);
    void this.tellArrival(listener, following, start);
    return () => {
      listener.unsubscribe();
      following.close();
    };
  }

  private async tellArrival(listener: Listener, following: Following, start: ReplayStart | undefined): Promise<void> {
    await listener.ready;
    const { channel } = this.heard;
    const position = typeof start === 'object' ? start : await knownPosition(this.hub, channel, () => !listener.closed);
    if (position !== undefined && !listener.closed) following.arrived(position);
  }

  /** The receiver for the current failures of a subscriber. */
  private failed(): Failed {
    const { delivery, heard, session } = this;
    const { reporter } = this.hub;
    if (delivery === undefined) {
      return (error) => reporter.callbackFailed({ callback: `A subscriber of ${LABEL}`, error });
    }
    const context = new MessageContext(delivery, { segments: heard.segments, session });
    return (error) => reporter.listenerFailed(error, { channel: delivery.channel, listener: LABEL, context });
  }
}

/**
 * The messages of a channel as a hot Observable: each subscription listens from then on, and nothing is buffered. Completes when the
 * session closes. Errors and rejections of a subscriber are reported like the failure of a listener.
 *
 * @throws MessagingError at the call if the value is not a channel, or the options are wrong
 */
export function createStream<T>(
  hub: Hub,
  channel: ListenableChannel<T>,
  session: Session,
  options?: ListenOptions,
): Observable<T> {
  if (options !== undefined) checkListenOptions(options, 'createStream');
  const { onGap, replay } = options ?? {};
  // Checked here, since an error inside the Observable would appear later and elsewhere.
  const heard = hub.heard(channel);
  return new ChannelStream<T>(hub, heard, session, onGap, replayStart(hub, heard, replay, 'createStream'));
}
