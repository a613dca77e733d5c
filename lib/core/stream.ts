import { Observable } from 'rxjs';
import type { ListenableChannel } from '../protocol/channel.js';
import type { Hub } from './hub.js';
import type { Session } from './session.js';

/** Begins to call `next` with each message, then `complete`; what it returns ends that. */
type Read<T> = (next: (message: T) => unknown, complete: () => void) => () => void;

/**
 * An Observable whose messages can also be read without the machinery of Observables, which costs more than all else of
 * a delivery to one of many event streams (bench/fanout.ts). What is made of it by `pipe()` is a plain one.
 */
export class DirectStream<T> extends Observable<T> {
  constructor(readonly read: Read<T>) {
    super((subscriber) =>
      read(
        (message) => subscriber.next(message),
        () => subscriber.complete(),
      ),
    );
  }
}

/**
 * The messages of a channel as a hot Observable: each subscription listens from then on, nothing is kept
 * for nobody. Completes when the session closes.
 *
 * @throws MessagingError at the call for what is no channel
 */
export function createStream<T>(hub: Hub, channel: ListenableChannel<T>, session: Session): Observable<T> {
  // Checked here, since an error inside the Observable would come at another time and in another place.
  hub.prepare(channel, () => {}, session);
  return new DirectStream<T>((next, complete) => {
    if (session.closed) {
      complete();
      return () => {};
    }
    const listener = hub.prepare(channel, next, session, 'createStream()');
    listener.isContextFree = true;
    listener.onSessionClose = complete;
    hub.attach(listener);
    return () => listener.unsubscribe();
  });
}
