import { inTime } from '../core/in-time.js';

/** Bounds on the application's authorizers. */
export interface AuthorizerLimits {
  /** How many run at a time. */
  readonly maxAtOnce: number;
  /** How long one may take, in milliseconds. */
  readonly timeoutMs: number;
}

/** Calls authorizers: so many at a time, the others in the order in which they came, and each for so long. */
export class AuthorizerCalls {
  private running = 0;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly limits: AuthorizerLimits) {}

  /**
   * @returns what the call gives
   * @throws (rejects) what it throws, or an error if it takes too long; its result is then ignored
   */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.running < this.limits.maxAtOnce) this.running++;
    // The place is handed on, so that nobody who comes in between gets it.
    else await new Promise<void>((resolve) => this.waiting.add(resolve));
    try {
      return await this.decided(call());
    } finally {
      const [next] = this.waiting;
      if (next === undefined) this.running--;
      else {
        this.waiting.delete(next);
        next();
      }
    }
  }

  private decided<T>(result: Promise<T>): Promise<T> {
    const { timeoutMs } = this.limits;
    const late = (): never => {
      throw new Error(`it did not decide within ${timeoutMs} ms (gateway.authorizerTimeoutMs)`);
    };
    // Nobody but this waits for it, and an application that ends does not.
    return inTime(result, timeoutMs, late, { unref: true });
  }
}
