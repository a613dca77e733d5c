import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { sessionOf, type RawResponse } from './response.js';

// A live client closes its side within one of these intervals, and answers a ping within a few.
const CHECK_MS = 400;
const MAX_SILENT_CHECKS = 5;

/**
 * HTTP/2 sessions that carry or carried event streams. A closing server waits for them even if their clients have no more requests, since
 * Node ends only idle connections of HTTP/1.
 */
export class Http2Sessions {
  private readonly open = new Map<ServerHttp2Session, Socket>();
  private isAsked = false;

  /** Remembers the session of a response, if it is one of HTTP/2. */
  note(response: RawResponse): void {
    const session = sessionOf(response);
    if (session === undefined || session.destroyed || this.open.has(session)) return;
    // `session.socket` is a proxy whose `destroy` ends only the session; its methods return the real socket.
    const socket = session.socket.once('close', () => this.open.delete(session));
    this.open.set(session, socket);
  }

  /** Asks each client whether it is alive. Call it before the server closes: from Node 24 on, that closes the sessions too. */
  ask(): void {
    for (const [session, socket] of this.open) cutOffIfSilent(session, socket);
    this.isAsked = true;
  }

  /** Lets each session end after its streams. Its other requests are answered first, unless its client is silent. */
  close(): void {
    if (!this.isAsked) this.ask();
    for (const session of this.open.keys()) session.close();
  }
}

/**
 * Node waits until a client has taken everything, and then until it closes its side. A client that has stopped reading does neither. Call
 * it before the session is closed, since a closed session sends no pings.
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
