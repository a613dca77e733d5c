import type { MessageContext } from '../core/message-context.js';
import type { Session } from '../core/session.js';
import type { Sessions } from '../core/sessions.js';

/** What a request-scoped `@OnMessage` handler finds under Nest's `REQUEST`: one message and its session. */
export class MessageRequest<T = unknown> {
  readonly #sessions: Sessions;
  #session: Session | undefined;
  #isHandled = false;

  /** @internal */
  constructor(
    /** The message. */
    readonly message: T,
    /** The context, as the second argument of a handler. */
    readonly context: MessageContext,
    sessions: Sessions,
  ) {
    this.#sessions = sessions;
  }

  /** The session of this one message: it closes when the handler has returned and its promise has settled. */
  get session(): Session {
    // Opened on demand: few handlers ask for it.
    this.#session ??= this.#sessions.open();
    if (this.#isHandled) this.#session.close();
    return this.#session;
  }

  /** @internal */
  close(): void {
    this.#isHandled = true;
    this.#session?.close();
  }
}
