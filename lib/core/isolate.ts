import { isThenable } from '../protocol/promises.js';
import type { Reporter } from './reporter.js';

/**
 * Calls a function of the application. What it throws, and what a promise that it returns rejects with, is reported and
 * goes no further.
 *
 * @param callback - what it is, for logs
 */
export function isolate(reporter: Reporter, callback: string, run: () => unknown): void {
  try {
    const result = run();
    if (isThenable(result)) void reportRejection(result, (error) => reporter.callbackFailed({ callback, error }));
  } catch (error) {
    reporter.callbackFailed({ callback, error });
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
