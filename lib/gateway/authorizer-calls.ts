import { AtOnce } from '../core/at-once.js';
import { inTime } from '../core/in-time.js';

/** Bounds on the application's authorizers. */
export interface AuthorizerLimits {
  /** How many run at a time. */
  readonly maxAtOnce: number;
  /** How long one may take, in milliseconds. */
  readonly timeoutMs: number;
}

/** Calls authorizers: a limited number at a time, the others in order of arrival, each with a time limit. */
export class AuthorizerCalls {
  private readonly atOnce: AtOnce;

  constructor(private readonly limits: AuthorizerLimits) {
    this.atOnce = new AtOnce(limits.maxAtOnce);
  }

  /**
   * @returns the result of the call
   * @throws (rejects) with the error of the call, or if it takes too long; its result is then ignored
   */
  run<T>(call: () => Promise<T>): Promise<T> {
    return this.atOnce.run(() => this.decided(call()));
  }

  private decided<T>(result: Promise<T>): Promise<T> {
    const { timeoutMs } = this.limits;
    const late = (): never => {
      throw new Error(`it did not decide within ${timeoutMs} ms (gateway.authorizerTimeoutMs)`);
    };
    // The timer must not keep an ending application alive.
    return inTime(result, timeoutMs, late, { unref: true });
  }
}
