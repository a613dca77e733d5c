import { Injectable } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { Hub } from '../core/hub.js';
import { Messenger } from '../core/messenger.js';
import { Revocations } from '../core/revocations.js';
import type { Session, SessionOptions } from '../core/session.js';
import type { TransportStatus } from '../core/transport.js';
import { SessionMessages } from './session-messages.js';

/**
 * Messages of the application: a singleton for whatever is no request (cron, workers, gateways, tests).
 * What is registered here lives until it is removed or the application shuts down.
 */
@Injectable()
export class MessagingService extends Messenger {
  constructor(hub: Hub, revocations: Revocations) {
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
   * @example
   * ```ts
   * await using messages = messaging.openSession({ signal: job.signal });
   * messages.addListener(UserUpdates, (update) => job.note(update));
   * ```
   */
  openSession(options: SessionOptions = {}): SessionMessages {
    const session = this.hub.sessions.open(options);
    return new SessionMessages(this.hub, this.revocations, () => session);
  }

  protected override sessionFor(): Session {
    return this.hub.root;
  }
}
