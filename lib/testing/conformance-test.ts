import { AssertionError } from 'node:assert/strict';

/** One thing that an implementation of a contract guarantees. */
export interface ConformanceTest {
  /** A sentence that begins with what is tested. */
  readonly name: string;
  /** Rejects with an `AssertionError` if it does not hold; also if what is tested throws, rejects or does not answer. */
  readonly run: () => Promise<void>;
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

function asAssertion(cause: unknown, what: string): AssertionError {
  const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
  return Object.assign(new AssertionError({ message: `The ${what} failed: ${text}` }), { cause });
}
