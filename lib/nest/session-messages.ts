import type { Hub } from '../core/hub.js';
import { Messenger } from '../core/messenger.js';
import type { Revocations } from '../core/revocations.js';
import type { Session } from '../core/session.js';

/**
 * Messages of one session: inject it where a request or stream is handled. Whatever is registered here
 * ends when the session does.
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
    private readonly findSession: (action: string) => Session,
  ) {
    super(hub, revocations);
  }

  /** The session: who is behind it, whether it is open, and how to close it. */
  get session(): Session {
    return this.findSession('session');
  }

  /** Closes the session. */
  [Symbol.dispose](): void {
    this.session.close();
  }

  /** Closes the session. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.session.close();
  }

  protected override sessionFor(action: string): Session {
    return this.findSession(action);
  }
}
