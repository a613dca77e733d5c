import { Subscription, type Observable, type Subscriber, type Unsubscribable } from 'rxjs';
import type { ListenableChannel } from '../protocol/channel.js';
import type { Delivery } from './delivery.js';
import type { Gap, GapListener } from './gap.js';
import type { Hub } from './hub.js';
import { IsolatedObservable, type Failed, type Failing } from './isolated-observable.js';
import { checkListenOptions, type ListenOptions } from './listen-options.js';
import type { Heard } from './listener.js';
import { MessageContext } from './message-context.js';
import type { Session } from './session.js';

const LABEL = 'createStream()';

/** Who reads a stream. */
export interface Reader<T> {
  next(message: T): unknown;
  complete(): void;
}

/**
 * An Observable that can also be read without the machinery of Observables, which costs more than all else of a delivery to
 * one of many event streams (bench/fanout.ts). What is made of it by `pipe()` is a plain one.
 */
export class DirectStream<T> extends IsolatedObservable<T> {
  constructor(
    /** Begins to tell a reader of each message, then of the end. */
    readonly read: (reader: Reader<T>) => Unsubscribable,
    failing: Failing,
  ) {
    super(failing, (subscriber) => read(subscriber));
  }
}

/**
 * The messages of a channel, for the subscribers of `createStream()`. Whoever finds the stream itself in its hands, instead
 * of what operators have made of it, may read {@link heard} by other means.
 */
export class ChannelStream<T> extends IsolatedObservable<T> {
  /** What its subscribers are being told of right now: operators pass on the message alone. */
  private delivery: Delivery | undefined = undefined;

  constructor(
    private readonly hub: Hub,
    readonly heard: Heard,
    readonly session: Session,
    /** See {@link ListenOptions.onGap}. */
    readonly onGap?: GapListener | undefined,
  ) {
    super(
      () => this.failed(),
      (subscriber) => this.tell(subscriber),
    );
  }

  private tell(subscriber: Subscriber<T>): Unsubscribable {
    const { hub, session, heard, onGap } = this;
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
    const tellGap = (gap: Gap): unknown => {
      reader.gap(gap);
      return onGap?.(gap);
    };
    const events = { onSessionClose, onGap: hub.hasTransport ? tellGap : undefined };
    return hub.tap(heard, take, session, LABEL, events);
  }

  /** Who is told of what a subscriber fails with now. */
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
 * The messages of a channel as a hot Observable: each subscription listens from then on, nothing is kept
 * for nobody. Completes when the session closes. What a subscriber throws, or its promise rejects with, is reported like
 * the failure of a listener.
 *
 * @throws MessagingError at the call for what is no channel, and for wrong options
 */
export function createStream<T>(
  hub: Hub,
  channel: ListenableChannel<T>,
  session: Session,
  options?: ListenOptions,
): Observable<T> {
  if (options !== undefined) checkListenOptions(options, 'createStream');
  // Checked here, since an error inside the Observable would come at another time and in another place.
  return new ChannelStream<T>(hub, hub.heard(channel), session, options?.onGap);
}
