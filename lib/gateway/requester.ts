import type { Session } from '../core/session.js';
import type { ClientAddress } from '../sse/client-limits.js';

/** Who asks for channels. */
export interface Requester {
  /** Of the request; nothing more is decided once it has closed. */
  readonly session: Session;
  /** The HTTP request. */
  readonly request: unknown;
  readonly address: ClientAddress;
}
