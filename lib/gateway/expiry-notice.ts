import type { Session } from '../core/session.js';
import type { Timed, TimeWheel } from '../core/time-wheel.js';
import type { StreamForm } from './stream-form.js';

/** How long before its sign-in expires a stream gets the notice; less if the sign-in lasts less than twice as long. */
const LEAD_MS = 60_000;
/** With less time left there is no notice: the client reconnects. */
const SHORTEST_MS = 1_000;

/**
 * Notifies the client of a stream that its sign-in is about to expire, in time to renew it on the same stream. Repeats the notice each time
 * half of the remaining time has passed, until it is renewed. The times are spread, since many clients may have signed in together.
 */
export class ExpiryNotice implements Timed {
  private at: number | undefined = undefined;

  private constructor(
    private readonly session: Session,
    private readonly form: StreamForm,
    private readonly wheel: TimeWheel,
  ) {
    session.onClose(() => this.cancel());
    this.plan();
  }

  /** @returns `undefined` if no notice is needed */
  static of(session: Session, form: StreamForm, wheel: TimeWheel): ExpiryNotice | undefined {
    const isNeeded = form.expiring !== undefined && session.auth?.expiresAt !== undefined;
    return isNeeded ? new ExpiryNotice(session, form, wheel) : undefined;
  }

  /** Call it when the session has another sign-in. */
  plan(): void {
    this.cancel();
    const expiresAt = this.session.auth?.expiresAt;
    if (expiresAt === undefined || this.session.closed) return;
    const leftMs = expiresAt - Date.now();
    if (leftMs < SHORTEST_MS) return;
    this.at = expiresAt - Math.min(LEAD_MS, leftMs / 2) * (0.75 + Math.random() / 2);
    this.wheel.add(this.at, this);
  }

  timeIsUp(): void {
    const leftMs = (this.session.auth?.expiresAt ?? 0) - Date.now();
    if (leftMs > 0) this.form.expiring?.(leftMs);
    this.plan();
  }

  private cancel(): void {
    if (this.at !== undefined) this.wheel.remove(this.at, this);
    this.at = undefined;
  }
}
