import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { sessionOf, type RawResponse } from './response.js';

// A client that reads has closed its side long before.
const LEAVE_TIMEOUT_MS = 400;

/**
 * The sessions of HTTP/2 that carry event streams, or did: a server that closes waits for them, also where their clients
 * have nothing more to ask, and node ends only those of HTTP/1.
 */
export class Http2Sessions {
  private readonly open = new Map<ServerHttp2Session, Socket>();

  /** Remembers the session that a response belongs to, where it is one of HTTP/2. */
  note(response: RawResponse): void {
    const session = sessionOf(response);
    if (session === undefined || session.destroyed || this.open.has(session)) return;
    // What `session.socket` gives is a proxy, which ends the session only; its methods return the socket itself.
    const socket = session.socket.once('close', () => this.open.delete(session));
    this.open.set(session, socket);
  }

  /**
   * Lets each end when its streams have. Node then waits for the client to close its side, which one that has stopped
   * reading never does: its socket is cut off after a while. Other requests of a session are answered before.
   */
  close(): void {
    for (const session of this.open.keys()) session.close();
    let ended = new Set<ServerHttp2Session>();
    const timer = setInterval(() => {
      for (const session of ended) this.open.get(session)?.destroy();
      ended = new Set([...this.open.keys()].filter(({ destroyed }) => destroyed));
      if (this.open.size === 0) clearInterval(timer);
    }, LEAVE_TIMEOUT_MS);
  }
}
