import type { ServerHttp2Session } from 'node:http2';
import { sessionOf, type RawResponse } from './response.js';

/**
 * The sessions of HTTP/2 that carry event streams, or did: a server that closes waits for them, also where their clients
 * have nothing more to ask, and node ends only those of HTTP/1.
 */
export class Http2Sessions {
  private readonly open = new Set<ServerHttp2Session>();

  /** Remembers the session that a response belongs to, where it is one of HTTP/2. */
  note(response: RawResponse): void {
    const session = sessionOf(response);
    if (session === undefined || this.open.has(session)) return;
    this.open.add(session);
    session.once('close', () => this.open.delete(session));
  }

  /** Lets each end when its streams have. */
  close(): void {
    for (const session of this.open) session.close();
  }
}
