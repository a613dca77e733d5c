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
import { SessionMessages } from './session-messages.js';

type Answer = AuthenticationClaims | null | undefined;

/** How a session of your own is opened. */
export interface SessionOptions {
  /**
   * Who is behind it. A function is asked when the answer is first needed, and again until it is somebody; it may be
   * asynchronous, as the option `authenticate` may.
   */
  readonly auth?: Answer | (() => Answer | Promise<Answer>);
  /** Closes the session when aborted. */
  readonly signal?: AbortSignal | undefined;
}

const SESSION_OPTIONS: Record<keyof SessionOptions, OptionCheck> = {
  // Read with more care below.
  auth: () => undefined,
  signal: abortSignal,
};

/**
 * Messages of the application: a singleton for whatever is no request (cron, workers, gateways, tests).
 * What is registered here lives until it is removed or the application shuts down.
 */
@Injectable()
export class MessagingService extends Messenger {
  constructor(
    hub: Hub,
    revocations: Revocations,
    private readonly authenticator: Authenticator,
    /** For the server of microservices, which handles messages too. */
    @Optional() protected readonly local?: LocalSessions,
  ) {
    super(hub, revocations);
  }

  /** The id of this server; `context.node` of what was posted here. */
  get node(): string {
    return this.hub.node;
  }

  /** How the link to the other servers is: the current status, then every change. Without Redis always `ready`. */
  get status(): Observable<TransportStatus> {
    return this.hub.status;
  }

  /** How many messages from other servers could not be delivered since the start; why is in the log. */
  get rejectedCount(): number {
    return this.hub.rejectedCount;
  }

  /**
   * Opens a session of your own. It closes by hand, by `using`, by its signal, by the revocation of its
   * authentication, or when the application shuts down.
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
    return new SessionMessages(this.hub, this.revocations, () => session);
  }

  private authOf(auth: SessionOptions['auth']): SessionInit['auth'] {
    if (typeof auth === 'function') return () => this.authenticator.take(auth, 'openSession({ auth })');
    if (auth === undefined || auth === null) return null;
    try {
      return readAuthentication(auth);
    } catch (error) {
      throw new ConfigurationError(`openSession: option "auth" names nobody: ${errorText(error)}`, { cause: error });
    }
  }

  protected override sessionFor(): Session {
    return this.hub.root;
  }
}
