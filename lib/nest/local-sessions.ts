import { AsyncLocalStorage } from 'node:async_hooks';
import { Injectable } from '@nestjs/common';
import type { Session } from '../core/session.js';
import { MessagingError } from '../protocol/errors.js';
import { RequestSessions } from './request-sessions.js';
import type { SessionFinder } from './session-messages.js';

/** Finds the session of the request or message that is being handled, wherever in its handling one is. */
@Injectable()
export class LocalSessions implements SessionFinder {
  private readonly storage = new AsyncLocalStorage<{ readonly request: unknown }>();

  constructor(private readonly sessions: RequestSessions) {}

  /** Runs the handling of a request, as Nest would inject it. */
  run<T>(request: unknown, handle: () => T): T {
    return this.storage.run({ request }, handle);
  }

  /**
   * See {@link SessionFinder}: of the current request, whatever is passed for one.
   *
   * @throws MessagingError (NO_SESSION) if neither a request nor a message is being handled
   */
  of(_request: unknown, action: string): Session {
    const current = this.storage.getStore();
    if (current === undefined) {
      throw new MessagingError(
        'NO_SESSION',
        `SessionMessages: ${action} needs a session, but no request or message is being handled here; inject MessagingService instead, and open a session with openSession()`,
      );
    }
    return this.sessions.of(current.request);
  }
}
