import type { MessageContext } from '../core/delivery.js';
import type { Session } from '../core/session.js';

/** What a request-scoped `@OnMessage` handler finds under Nest's `REQUEST`: one message and its session. */
export class MessageRequest<T = unknown> {
  /** @internal */
  constructor(
    readonly message: T,
    readonly context: MessageContext,
    readonly session: Session,
  ) {}
}
