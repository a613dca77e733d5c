import type { Session } from '../core/session.js';
import type { SessionCloseReason, SessionObserver } from '../core/session-close-reason.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { ClientConnection } from './client-connection.js';

/** The owner of reservations. */
interface ReservationKeeper {
  /** Called when the session of a reservation has closed. */
  ended(reservation: Reservation, reason: SessionCloseReason): void;
}

/** A future connection, from before the decision about its channels. */
export class Reservation implements SessionObserver {
  /** Set once it is open. */
  connection: ClientConnection | undefined = undefined;
  /** The client's sign-in when it came. */
  readonly auth: AuthenticationInfo | null;

  constructor(
    readonly session: Session,
    private readonly keeper: ReservationKeeper,
  ) {
    this.auth = session.auth;
  }

  sessionClosed(reason: SessionCloseReason): void {
    this.keeper.ended(this, reason);
  }
}
