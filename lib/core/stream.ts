import { Subscription, type Observable, type Unsubscribable } from 'rxjs';
import type { ListenableChannel } from '../protocol/channel.js';
import { MessageContext } from './delivery.js';
import type { Hub } from './hub.js';
import { IsolatedObservable, type Failed, type Failing } from './isolated-observable.js';
import type { Session } from './session.js';

const LABEL = 'createStream()';

/** Who reads a stream. */
export interface Reader<T> {
  next(message: T): unknown;
  complete(): void;
}

/** Registers listeners, and decides what they are called with: the hub with messages. */
export type Registrar = Pick<Hub, 'attach'>;

/** Begins to tell a reader of each message, then of the end. */
type Read<T> = (reader: Reader<T>, registrar?: Registrar) => Unsubscribable;

/**
 * An Observable whose messages can also be read without the machinery of Observables, which costs more than all else of
 * a delivery to one of many event streams (bench/fanout.ts). What is made of it by `pipe()` is a plain one.
 */
export class DirectStream<T> extends IsolatedObservable<T> {
  constructor(
    readonly read: Read<T>,
    failing: Failing,
  ) {
    super(failing, (subscriber) => read(subscriber));
  }
}

/**
 * The messages of a channel as a hot Observable: each subscription listens from then on, nothing is kept
 * for nobody. Completes when the session closes. What a subscriber throws, or its promise rejects with, is reported like
 * the failure of a listener.
 *
 * @throws MessagingError at the call for what is no channel
 */
export function createStream<T>(hub: Hub, channel: ListenableChannel<T>, session: Session): Observable<T> {
  // Checked here, since an error inside the Observable would come at another time and in another place.
  hub.prepare(channel, () => {}, session);
  return new DirectStream<T>(
    (reader, registrar = hub) => readChannel(hub, channel, session, reader, registrar),
    () => subscriberFailing(hub, channel, session),
  );
}

function subscriberFailing<T>(hub: Hub, channel: ListenableChannel<T>, session: Session): Failed {
  const { delivering, reporter } = hub;
  const listener = hub.prepare(channel, () => {}, session, LABEL);
  if (delivering === undefined || !listener.hears(delivering.channel)) {
    return (error) => reporter.callbackFailed({ callback: `A subscriber of ${LABEL}`, error });
  }
  const context = new MessageContext(delivering, listener);
  return (error) => reporter.listenerFailed(error, { channel: delivering.channel, listener: LABEL, context });
}

// Not inside createStream(), whose variables an open stream would keep with these closures.
function readChannel<T>(
  hub: Hub,
  channel: ListenableChannel<T>,
  session: Session,
  reader: Reader<T>,
  registrar: Registrar,
): Unsubscribable {
  if (session.closed) {
    reader.complete();
    return Subscription.EMPTY;
  }
  const listener = hub.prepare(channel, (message: T) => reader.next(message), session, LABEL);
  listener.isContextFree = true;
  listener.onSessionClose = () => reader.complete();
  registrar.attach(listener);
  return listener;
}
