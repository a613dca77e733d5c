import { Observable } from 'rxjs';
import type { ListenableChannel } from '../protocol/channel.js';
import type { Hub } from './hub.js';
import type { Session } from './session.js';

/**
 * The messages of a channel as a hot Observable: each subscription listens from then on, nothing is kept
 * for nobody. Completes when the session closes.
 *
 * @throws MessagingError at the call for what is no channel
 */
export function createStream<T>(hub: Hub, channel: ListenableChannel<T>, session: Session): Observable<T> {
  // Checked here, since an error inside the Observable would come at another time and in another place.
  hub.prepare(channel, () => {}, session);
  return new Observable<T>((subscriber) => {
    if (session.closed) {
      subscriber.complete();
      return undefined;
    }
    const listener = hub.prepare(channel, (message: T) => subscriber.next(message), session, 'createStream()');
    listener.onSessionClose = () => subscriber.complete();
    hub.attach(listener);
    return listener;
  });
}
