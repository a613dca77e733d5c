import { checkOptions, type OptionCheck } from '../protocol/check-options.js';
import type { ListenableChannel } from '../protocol/channel.js';
import { ITERATE_OPTIONS, type IterateOptions } from '../protocol/iteration.js';
import { GapIteration } from './gap-iteration.js';
import type { Delivery } from './delivery.js';
import type { Gap } from './gap.js';
import type { Hub } from './hub.js';
import { tellOfGap } from './isolate.js';
import { LISTEN_OPTIONS, replayStart, type ListenOptions } from './listen-options.js';
import type { Listener } from './listener.js';
import type { GapReader } from './gap-reader.js';
import type { Session } from './session.js';

const OPTIONS: Record<keyof (IterateOptions & ListenOptions), OptionCheck> = {
  ...ITERATE_OPTIONS,
  ...LISTEN_OPTIONS,
};

/** The messages of a channel, for one loop. The same as `AsyncIterableIterator<T, undefined>`, which needs TypeScript 5.6. */
export interface MessageIterator<T> extends AsyncIterator<T, undefined> {
  /** Makes it usable in `for await`: returns the same iterator. */
  [Symbol.asyncIterator](): MessageIterator<T>;
}

/**
 * The messages of a channel as an iterator that keeps a bounded number of them for a slow loop. It listens from the start of
 * the loop, or from the first `next()`, to its end; it ends when the session closes, and cannot be used again.
 *
 * @throws MessagingError at the call for what is no channel, and for wrong options
 */
export function iterate<T>(
  hub: Hub,
  channel: ListenableChannel<T>,
  session: Session,
  options?: IterateOptions & ListenOptions,
): MessageIterator<T> {
  if (options !== undefined) checkOptions(options, 'iterate', OPTIONS);
  const heard = hub.heard(channel);
  const start = replayStart(hub, heard, options?.replay, 'iterate');
  let listener: Listener | undefined;
  let isBegun = false;
  const onGap = options?.onGap;
  let reader: GapReader = session;
  const tell = (gap: Gap): void => {
    reader.gap(gap);
    if (onGap !== undefined) tellOfGap(hub.reporter, 'iterate()', gap, onGap);
  };
  const dropped = (): void => tell({ channel: heard.channel, reason: 'slow-consumer' });
  const iteration = new GapIteration<T>(options, heard.channel, () => listener?.unsubscribe(), dropped);
  const begin = (): void => {
    if (isBegun) return;
    isBegun = true;
    reader = hub.gapReaderOf(session);
    if (session.closed) return iteration.finish();
    const onSessionClose = (): void => iteration.finish();
    // The loop may be behind, so it learns of a loss only after it has taken the earlier messages.
    const events = { onSessionClose, onGap: (gap: Gap) => iteration.takeTurn(() => tell(gap)) };
    const take = ({ message, replayed }: Delivery): void => {
      // Earlier messages arrive on demand; live ones are bounded.
      if (replayed) iteration.put(message as T);
      else iteration.take(message as T);
    };
    listener = hub.tap(heard, take, session, 'iterate()', events, start, iteration);
  };
  const end = (): Promise<IteratorResult<T, undefined>> => {
    isBegun = true;
    return iteration.return();
  };
  return {
    next: async () => {
      begin();
      return iteration.next();
    },
    return: end,
    throw: async (error: unknown) => {
      await end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      begin();
      return this;
    },
  };
}
