import { isThenable } from '../protocol/promises.js';
import type { Gap, GapListener } from './gap.js';
import type { Reporter } from './reporter.js';

/**
 * Calls a function of the application. Reports the error that it throws, or the rejection of the promise that it returns.
 *
 * @param callback - its name in logs
 */
export function isolate(reporter: Reporter, callback: string, run: () => unknown): void {
  guard(run, (error) => reporter.callbackFailed({ callback, error }));
}

/**
 * Tells a listener of a gap. Reports its failure like a failure at a message.
 *
 * @param listener - its name, for logs
 */
export function tellOfGap(reporter: Reporter, listener: string, gap: Gap, onGap: GapListener): void {
  guard(
    () => onGap(gap),
    (error) => reporter.listenerFailed(error, { channel: gap.channel, listener, gap }),
  );
}

function guard(run: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = run();
    if (isThenable(result)) void reportRejection(result, failed);
  } catch (error) {
    failed(error);
  }
}

/**
 * Reports the rejection of a result of an application function, once. It uses `await`, as the application itself would: a thenable may
 * reject twice, throw afterwards, or rely on both arguments of `then`.
 */
export async function reportRejection(result: PromiseLike<unknown>, failed: (error: unknown) => void): Promise<void> {
  try {
    await result;
  } catch (error) {
    failed(error);
  }
}
