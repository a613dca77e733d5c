import type { ListenableChannel } from '../protocol/channel.js';
import { Iteration, resolveIterateOptions, type IterateOptions } from '../protocol/iteration.js';
import type { Hub } from './hub.js';
import type { Listener } from './listener.js';
import type { Session } from './session.js';

/**
 * The messages of a channel as an AsyncIterable that keeps a bounded number of them for a slow loop. Each
 * iteration listens from its start (`for await`) to its end, and ends when the session closes.
 *
 * @throws MessagingError at the call for what is no channel, and for wrong options
 */
export function iterate<T>(
  hub: Hub,
  channel: ListenableChannel<T>,
  session: Session,
  options?: IterateOptions,
): AsyncIterable<T> {
  const resolved = resolveIterateOptions(options, 'iterate');
  const name = hub.prepare(channel, () => {}, session).channel;
  return {
    [Symbol.asyncIterator]: () => {
      let listener: Listener | undefined;
      const iteration = new Iteration<T>(resolved, name, () => listener?.unsubscribe());
      if (session.closed) {
        iteration.finish();
      } else {
        listener = hub.prepare(channel, (message: T) => iteration.take(message), session, 'iterate()');
        listener.isContextFree = true;
        listener.onSessionClose = () => iteration.finish();
        hub.attach(listener);
      }
      return iteration;
    },
  };
}
