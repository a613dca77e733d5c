import { Injectable, Optional } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { Hub } from '../core/hub.js';
import { Messenger } from '../core/messenger.js';
import { Revocations } from '../core/revocations.js';
import type { Session } from '../core/session.js';
import type { SessionInit } from '../core/session-init.js';
import type { TransportStatus } from '../core/transport.js';
import type { AuthenticationClaims } from '../protocol/authentication.js';
import { abortSignal, checkOptions, type OptionCheck } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';
import { readAuthentication } from '../protocol/read-authentication.js';
import { Authenticator } from './authenticator.js';
import { LocalSessions } from './local-sessions.js';
import { errorText } from './log-text.js';
import { GIVEN_SESSION, SessionMessages } from './session-messages.js';

/** Options of {@link MessagingService.openSession}. */
export interface SessionOptions {
  /**
   * The user of the session. A function is called when the user is first needed, and again until it returns one; like the
   * option `authenticate`, it may be asynchronous.
   * @defaultValue nobody
   */
  readonly auth?:
    | AuthenticationClaims
    | null
    | undefined
    | (() => AuthenticationClaims | null | undefined | Promise<AuthenticationClaims | null | undefined>);
  /**
   * Closes the session when it aborts.
   * @defaultValue none
   */
  readonly signal?: AbortSignal | undefined;
}

const SESSION_OPTIONS: Record<keyof SessionOptions, OptionCheck> = {
  // Read with more care below.
  auth: () => undefined,
  signal: abortSignal,
};

/**
 * Messages of the application: a singleton for code outside of requests (cron, workers, gateways, tests).
 * Registrations live until they are removed or the application shuts down.
 */
@Injectable()
export class MessagingService extends Messenger {
  /** @internal */
  constructor(
    hub: Hub,
    revocations: Revocations,
    private readonly authenticator: Authenticator,
    /**
     * For the server of microservices, which handles messages too.
     * @internal
     */
    @Optional() protected readonly local?: LocalSessions,
  ) {
    super(hub, revocations);
  }

  /** The id of this server: `context.node` of its posts. */
  get node(): string {
    return this.hub.node;
  }

  /** The status of the link to the other servers: the current one, then every change. Without Redis always `ready`. */
  get status(): Observable<TransportStatus> {
    return this.hub.status;
  }

  /** How many messages from other servers could not be delivered since the start; the log has the reasons. */
  get rejectedCount(): number {
    return this.hub.rejectedCount;
  }

  /**
   * Opens a session of your own. Close it yourself or with `using`. Its signal, the revocation of its
   * authentication and the shutdown of the application also close it.
   *
   * @throws ConfigurationError for unknown or wrong options, and for an `auth` that names nobody: `null` is nobody
   * @example
   * ```ts
   * await using messages = messaging.openSession({ signal: job.signal });
   * messages.addListener(UserUpdates, (update) => job.note(update));
   * ```
   */
  openSession(options: SessionOptions = {}): SessionMessages {
    checkOptions(options, 'openSession', SESSION_OPTIONS);
    const { auth, signal } = options;
    const session = this.hub.sessions.open({ auth: this.authOf(auth), signal });
    return new SessionMessages(this.hub, this.revocations, GIVEN_SESSION, session);
  }

  private authOf(auth: SessionOptions['auth']): SessionInit['auth'] {
    if (typeof auth === 'function') return () => this.authenticator.take(auth, 'openSession({ auth })');
    if (auth === undefined || auth === null) return null;
    try {
      return readAuthentication(auth);
    } catch (error) {
      throw new ConfigurationError(`openSession: option "auth" is no sign-in: ${errorText(error)}`, { cause: error });
    }
  }

  /** @internal */
  protected override sessionFor(): Session {
    return this.hub.root;
  }
}
