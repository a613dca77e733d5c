import { AssertionError } from 'node:assert/strict';
import { inTime } from '../core/in-time.js';
import { describe } from '../protocol/channel-name.js';
import { checkOptions, wholeNumber } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';

/** One thing that an implementation of a contract guarantees. */
export interface ConformanceTest {
  /** A sentence that begins with what is tested. */
  readonly name: string;
  /** Rejects with an `AssertionError` if it does not hold; also if what is tested throws, rejects or does not answer. */
  readonly run: () => Promise<void>;
}

/**
 * Checks the arguments of a suite before any test is made, so that a wrong time does not fail a hundred tests.
 *
 * @param start - the function that gives what is tested
 * @param time - the name of the option that bounds a test
 * @throws ConfigurationError that names the suite and the option
 */
export function checkSuite(suite: string, start: unknown, options: unknown, time: string): void {
  if (typeof start !== 'function') {
    throw new ConfigurationError(`${suite}(): give it a function that returns what is tested, not ${describe(start)}`);
  }
  checkOptions(options, `${suite}()`, { [time]: wholeNumber(1) });
}

/**
 * Makes the tests of a contract.
 *
 * @param what - what is tested, for errors
 * @param run - tries one guarantee
 */
export function conformanceTests<Check>(
  guarantees: Readonly<Record<string, Check>>,
  what: string,
  run: (check: Check) => Promise<void>,
): ConformanceTest[] {
  return Object.entries(guarantees).map(([name, check]) => ({
    name,
    run: async () => {
      try {
        await run(check);
      } catch (error) {
        throw error instanceof AssertionError ? error : asAssertion(error, what);
      }
    },
  }));
}

/** What a guarantee is tried on. */
interface Trial {
  /** Ends all that was made for it. */
  close(): void | Promise<void>;
}

/**
 * As {@link conformanceTests}, for guarantees that are tried on something of their own, each within a time.
 *
 * @param start - makes what one guarantee is tried on
 * @param testMs - how long a guarantee may take, in milliseconds
 */
export function conformanceTrials<T extends Trial>(
  guarantees: Readonly<Record<string, (trial: T) => Promise<void>>>,
  what: string,
  start: () => Promise<T>,
  testMs: number,
): ConformanceTest[] {
  return conformanceTests(guarantees, what, async (check) => {
    const trial = await start();
    try {
      await inTime(check(trial), testMs, () => {
        throw new AssertionError({ message: `The ${what} has not done this within ${testMs} ms` });
      });
    } finally {
      await trial.close();
    }
  });
}

function asAssertion(cause: unknown, what: string): AssertionError {
  const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
  return Object.assign(new AssertionError({ message: `The ${what} failed: ${text}` }), { cause });
}
