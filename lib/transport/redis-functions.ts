import { describe } from '../protocol/channel-name.js';
import { MAX_TIMER_MS } from '../protocol/check-options.js';
import { ignoreRejection } from '../protocol/promises.js';
import { thrownText } from '../protocol/thrown.js';

// ioredis calls these where nobody can catch what they throw: in handlers of socket events and while it reads an answer. The process would end.

/** What counts in place of an answer that is missing or cannot be used. */
type Fallback = () => unknown;

/** A function that an application gives to ioredis. */
interface ForeignFunction {
  readonly expected: string;
  readonly isAnswer: (answer: unknown) => boolean;
}

/** Told once of each function that fails. */
export type WarnOfFunction = (text: string) => void;

// The default of ioredis.
const SENTINEL_RECONNECT_MS = 60_000;

// ioredis gives anything to timers, which take what they cannot hold for 1 ms.
const WAIT: ForeignFunction = {
  expected: `a number of milliseconds up to ${MAX_TIMER_MS}, or nothing to give up`,
  isAnswer: (answer) => answer == null || (typeof answer === 'number' && answer >= 0 && answer <= MAX_TIMER_MS),
};

const FUNCTIONS: Readonly<Record<string, ForeignFunction & { readonly fallback?: Fallback }>> = {
  // The library tries again by its own back-off.
  retryStrategy: WAIT,
  clusterRetryStrategy: WAIT,
  sentinelRetryStrategy: { ...WAIT, fallback: () => null },
  sentinelReconnectStrategy: { ...WAIT, fallback: () => SENTINEL_RECONNECT_MS },
  clusterNodeRetryStrategy: { ...WAIT, fallback: () => null },
  reconnectOnError: {
    expected: 'true, false, 1 or 2',
    isAnswer: (answer) => answer == null || typeof answer === 'boolean' || answer === 1 || answer === 2,
    fallback: () => false,
  },
  natMap: {
    expected: '{ host, port } or nothing',
    isAnswer: (answer) => answer == null || typeof (answer as { host?: unknown }).host === 'string',
    fallback: () => null,
  },
};

/** Isolates functions that an application has among the options of ioredis. */
export class RedisFunctions {
  private readonly told = new Set<string>();

  constructor(private readonly warn: WarnOfFunction) {}

  /**
   * The functions among options of ioredis, isolated: one that fails, or gives what ioredis cannot use, is reported once.
   *
   * @param waitMs - how long to wait before an attempt, if a function does not say
   */
  isolated(options: object, waitMs: () => number): object {
    return Object.fromEntries(
      Object.entries(options)
        .filter(([name, value]) => Object.hasOwn(FUNCTIONS, name) && typeof value === 'function')
        .map(([name, run]) => [name, this.isolate(name, run as (...args: unknown[]) => unknown, waitMs)]),
    );
  }

  private isolate(name: string, run: (...args: unknown[]) => unknown, waitMs: () => number): unknown {
    const { expected, isAnswer, fallback = waitMs } = FUNCTIONS[name]!;
    const failed = (problem: string): unknown => {
      if (!this.told.has(name)) this.warn(`Option "redis.${name}" ${problem}; the library goes on without it`);
      this.told.add(name);
      return fallback();
    };
    return function (this: unknown, ...args: unknown[]): unknown {
      try {
        const answer = run.apply(this, args);
        if (isAnswer(answer)) return answer;
        ignoreRejection(answer);
        return failed(`must return ${expected}, not ${describe(answer)}`);
      } catch (error) {
        return failed(`failed: ${thrownText(error)}`);
      }
    };
  }
}
