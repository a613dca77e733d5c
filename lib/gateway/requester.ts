import type { Session } from '../core/session.js';
import type { ClientAddress } from '../sse/client-limits.js';

/** The client that requests channels. */
export interface Requester {
  /** The session of the request. Once it has closed, nothing more is decided. */
  readonly session: Session;
  /** The HTTP request. */
  readonly request: unknown;
  readonly address: ClientAddress;
}
