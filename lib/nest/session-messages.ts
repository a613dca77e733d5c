import type { Hub } from '../core/hub.js';
import { Messenger } from '../core/messenger.js';
import type { Revocations } from '../core/revocations.js';
import type { Session } from '../core/session.js';
import { SessionClosedError } from '../protocol/errors.js';

/** Finds the session that messages belong to. */
export interface SessionFinder {
  /**
   * @param request - what Nest injects as `REQUEST`, if the session is that of a request
   * @param action - what needs a session, for errors
   */
  of(request: unknown, action: string): Session;
}

/** Takes the session itself in place of a request. */
export const GIVEN_SESSION: SessionFinder = { of: (session) => session as Session };

/**
 * Messages of one session. Inject it in code that handles a request or stream. Registrations
 * end with the session.
 *
 * @example
 * ```ts
 * @Controller('users')
 * class UsersController {
 *   constructor(private readonly messages: SessionMessages) {}
 *
 *   @Sse('updates')
 *   updates() {
 *     return this.messages.createStream(UserUpdates);
 *   }
 * }
 * ```
 */
export class SessionMessages extends Messenger implements Disposable, AsyncDisposable {
  /** @internal */
  constructor(
    hub: Hub,
    revocations: Revocations,
    // Not a function of its own: there is one of these for each request.
    private readonly sessions: SessionFinder,
    private readonly request?: unknown,
    /** May throw another error in place of the one that says the session has closed. */
    private readonly refuse?: (session: Session, error: SessionClosedError) => void,
  ) {
    super(hub, revocations);
  }

  /** The session: its user, whether it is open, and how to close it. */
  get session(): Session {
    return this.sessionFor('session');
  }

  /** Closes the session. */
  [Symbol.dispose](): void {
    this.session.close();
  }

  /** Closes the session. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.session.close();
  }

  /** @internal */
  protected override sessionFor(action: string): Session {
    return this.sessions.of(this.request, action);
  }

  /**
   * @throws UnauthorizedException in a request whose sign-in was revoked or has expired
   * @internal
   */
  protected override openSessionFor(action: string): Session {
    try {
      return super.openSessionFor(action);
    } catch (error) {
      if (error instanceof SessionClosedError) this.refuse?.(this.session, error);
      throw error;
    }
  }
}
