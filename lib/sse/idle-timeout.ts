import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { sessionOf, type RawResponse } from './response.js';

/** The object that Node cuts off after some time without a byte: a socket of HTTP/1, or a session of HTTP/2 with all its streams. */
export type Idling = (Socket | ServerHttp2Session) & {
  /** In milliseconds. */
  timeout?: number;
  [SUSPENDED]?: { streams: number; readonly ms: number };
};

const SUSPENDED = Symbol('nestjs-messaging:idle-timeout');

/**
 * Keeps Node from cutting off an idle connection while it carries an event stream, which may be silent for long.
 *
 * @returns the argument for {@link resumeIdleTimeout}; `undefined` if there is no such timeout
 */
export function suspendIdleTimeout(response: RawResponse): Idling | undefined {
  const idling: Idling | undefined = sessionOf(response) ?? response.socket ?? undefined;
  if (idling === undefined) return undefined;
  const suspended = idling[SUSPENDED];
  if (suspended !== undefined) {
    suspended.streams++;
  } else {
    if (!idling.timeout) return undefined;
    idling[SUSPENDED] = { streams: 1, ms: idling.timeout };
    idling.setTimeout(0);
  }
  return idling;
}

/** Call it when an event stream ends. After the last stream on a connection, the connection gets its timeout back. */
export function resumeIdleTimeout(idling: Idling): void {
  const suspended = idling[SUSPENDED];
  if (suspended === undefined || --suspended.streams > 0) return;
  delete idling[SUSPENDED];
  if (!idling.destroyed) idling.setTimeout(suspended.ms);
}
