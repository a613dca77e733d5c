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
    // `Promise.resolve` takes a thenable as it is, even one whose `then` throws.
    if (typeof result === 'object' && result !== null) {
      Promise.resolve(result).catch((error: unknown) => reporter.callbackFailed({ callback, error }));
    }
  } catch (error) {
    reporter.callbackFailed({ callback, error });
  }
}
