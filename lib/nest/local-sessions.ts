import { AsyncLocalStorage } from 'node:async_hooks';
import { Injectable } from '@nestjs/common';
import type { Session } from '../core/session.js';
import { MessagingError } from '../protocol/errors.js';
import { RequestSessions } from './request-sessions.js';

/** Finds the session of the request or message that is being handled, wherever in its handling one is. */
@Injectable()
export class LocalSessions {
  private readonly storage = new AsyncLocalStorage<{ readonly request: unknown }>();

  constructor(private readonly sessions: RequestSessions) {}

  /** Runs the handling of a request, as Nest would inject it. */
  run<T>(request: unknown, handle: () => T): T {
    return this.storage.run({ request }, handle);
  }

  /** @throws MessagingError (NO_SESSION) where neither a request nor a message is being handled */
  current(action: string): Session {
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
