import { isThenable } from '../protocol/promises.js';
import type { Gap, GapListener } from './gap.js';
import type { Reporter } from './reporter.js';

/**
 * Calls a function of the application. What it throws, and what a promise that it returns rejects with, is reported and
 * goes no further.
 *
 * @param callback - what it is, for logs
 */
export function isolate(reporter: Reporter, callback: string, run: () => unknown): void {
  guard(run, (error) => reporter.callbackFailed({ callback, error }));
}

/**
 * Tells a listener of a gap. What that fails with is reported like its failure at a message.
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
 * Tells of the rejection of what a function of the application gave, once. It is waited for as the application itself would,
 * with `await`: a thenable may reject twice, throw afterwards, or count on both functions that `then` is called with.
 */
export async function reportRejection(result: PromiseLike<unknown>, failed: (error: unknown) => void): Promise<void> {
  try {
    await result;
  } catch (error) {
    failed(error);
  }
}
