import { AtOnce } from '../core/at-once.js';
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
  private readonly atOnce: AtOnce;

  constructor(private readonly limits: AuthorizerLimits) {
    this.atOnce = new AtOnce(limits.maxAtOnce);
  }

  /**
   * @returns what the call gives
   * @throws (rejects) what it throws, or an error if it takes too long; its result is then ignored
   */
  run<T>(call: () => Promise<T>): Promise<T> {
    return this.atOnce.run(() => this.decided(call()));
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
