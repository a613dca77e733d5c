import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { sessionOf, type RawResponse } from './response.js';

// A client that reads closes its side within one of these, and answers a ping within a few.
const CHECK_MS = 400;
const MAX_SILENT_CHECKS = 5;

/**
 * The sessions of HTTP/2 that carry event streams, or did: a server that closes waits for them, also where their clients
 * have nothing more to ask, and node ends only those of HTTP/1.
 */
export class Http2Sessions {
  private readonly open = new Map<ServerHttp2Session, Socket>();
  private isAsked = false;

  /** Remembers the session that a response belongs to, where it is one of HTTP/2. */
  note(response: RawResponse): void {
    const session = sessionOf(response);
    if (session === undefined || session.destroyed || this.open.has(session)) return;
    // What `session.socket` gives is a proxy, which ends the session only; its methods return the socket itself.
    const socket = session.socket.once('close', () => this.open.delete(session));
    this.open.set(session, socket);
  }

  /** Asks each client whether it is there. To be called before the server closes: from Node 24 on, that closes the sessions too. */
  ask(): void {
    for (const [session, socket] of this.open) cutOffIfSilent(session, socket);
    this.isAsked = true;
  }

  /** Lets each end when its streams have. Other requests of a session are answered before, unless its client is silent. */
  close(): void {
    if (!this.isAsked) this.ask();
    for (const session of this.open.keys()) session.close();
  }
}

/**
 * Node waits until a client has taken what it was sent, and then until it closes its side. One that has stopped reading
 * does neither. To be called before the session is closed, which sends no pings then.
 */
function cutOffIfSilent(session: ServerHttp2Session, socket: Socket): void {
  let isSilent = true;
  let checks = 0;
  let checksSinceEnd = 0;
  if (!session.destroyed) session.ping((error) => (isSilent &&= error !== null));
  const timer = setInterval(() => {
    checks++;
    if (session.destroyed) checksSinceEnd++;
    if (checksSinceEnd > 1 || (isSilent && checks >= MAX_SILENT_CHECKS)) socket.destroy();
  }, CHECK_MS);
  socket.once('close', () => clearInterval(timer));
}
