import { ServerResponse } from 'node:http';
import type { Http2ServerResponse, ServerHttp2Session } from 'node:http2';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';

/** The target of an event stream: Node's response, of HTTP/1 or of the compatibility API of HTTP/2. */
export type RawResponse = ServerResponse;

// `no-transform` keeps compressing middleware and proxies from holding events back; `x-accel-buffering` does the same for nginx. A stream
// is for one client: a cache that answers several requests with one response would give it to others.
const NO_TRANSFORM = 'no-transform';
/** For one client: no cache may keep it. */
export const PRIVATE = 'private, no-store';
const HEADERS = {
  'content-type': 'text/event-stream',
  'x-accel-buffering': 'no',
  'cache-control': `${PRIVATE}, ${NO_TRANSFORM}`,
} as const;

/**
 * The headers of an event stream, besides those that the application has set.
 *
 * @param cacheControl - the application's `cache-control` header
 */
export function headersOf(
  response: RawResponse,
  cacheControl = response.getHeader('cache-control'),
): Record<string, string> {
  const headers: Record<string, string> = { ...HEADERS };
  if (cacheControl !== undefined) headers['cache-control'] = withNoTransform(cacheControl);
  // Explicit, since Node would otherwise add how long it keeps the connection after the stream. Clients of Node (undici) keep idle
  // connections for that time, and a closing server waits for them.
  if (!isHttp2(response) && response.shouldKeepAlive) headers['connection'] = 'keep-alive';
  return headers;
}

/** Whether nobody can receive this response any more. */
export function isGone(response: RawResponse): boolean {
  const { destroyed, closed, writableFinished } = writableOf(response);
  // The stream of an HTTP/2 HEAD request is finished from the beginning.
  const isFinished = writableFinished && !isHttp2(response);
  return destroyed || closed || isFinished || (connectionOf(response)?.destroyed ?? true);
}

/** Calls a function of a response when nobody can receive it any more; perhaps more than once. */
export function onceGone(response: RawResponse, run: (this: RawResponse) => void): void {
  const connection = isWaitingForTurn(response) ? connectionOf(response) : undefined;
  if (connection === undefined) {
    response.on('close', run);
    return;
  }
  // Node reports a closed connection only to the response whose turn it is. One listener serves all waiting responses, since clients decide
  // how many there are.
  const waiting = waitingOn(connection);
  const gone = () => run.call(response);
  waiting.add(gone);
  response.on('close', () => {
    waiting.delete(gone);
    gone();
  });
}

/** Cuts off a request that must not be answered: a browser treats an error status as final. */
export function destroyResponse(response: RawResponse): void {
  writableOf(response).destroy();
}

/** Whether it waits behind other responses to requests that were sent together over one HTTP/1.1 connection (pipelining). */
export function isWaitingForTurn(response: RawResponse): boolean {
  return !isHttp2(response) && response.socket === null && !response.writableFinished;
}

/** The buffer of unsent bytes: for HTTP/2 the stream, since the response does not report them. */
export function writableOf(response: RawResponse): Writable {
  return isHttp2(response) ? response.stream : response;
}

/** The open HTTP/2 session of a response. */
export function sessionOf(response: RawResponse): ServerHttp2Session | undefined {
  return isHttp2(response) ? (response.stream.session as ServerHttp2Session | undefined) : undefined;
}

/**
 * The socket of a response, if chunks may be written to it directly: that costs half as much as a write to the response (bench/spaced.ts).
 * Not if other code stands between, such as compression, nor over TLS, nor if the client does not support chunks; and only once the
 * response holds nothing back.
 */
export function plainSocketOf(response: RawResponse): Socket | undefined {
  if (isHttp2(response) || response.write !== ServerResponse.prototype.write) return undefined;
  const { socket, chunkedEncoding } = response;
  const isPlain =
    socket !== null &&
    chunkedEncoding &&
    !('encrypted' in socket) &&
    socket.write === Socket.prototype.write &&
    response.writableLength === socket.writableLength;
  return isPlain ? socket : undefined;
}

function isHttp2(response: RawResponse): response is RawResponse & Http2ServerResponse {
  return 'stream' in response;
}

const WAITING = Symbol('nestjs-messaging:waiting');

function waitingOn(connection: Socket & { [WAITING]?: Set<() => void> }): Set<() => void> {
  const known = connection[WAITING];
  if (known !== undefined) return known;
  const waiting = new Set<() => void>();
  connection[WAITING] = waiting;
  connection.once('close', () => {
    for (const run of waiting) run();
  });
  return waiting;
}

function connectionOf(response: RawResponse): Socket | undefined {
  // Falls back to the request's socket: a response that waits for its turn has none of its own yet.
  return response.socket ?? (response.req as { socket?: Socket } | undefined)?.socket;
}

function withNoTransform(cacheControl: number | string | readonly string[]): string {
  const directives = typeof cacheControl === 'object' ? cacheControl.join(', ') : String(cacheControl);
  if (/(?:^|,)\s*no-transform\s*(?:,|$)/i.test(directives)) return directives;
  // The gateway sets it for all of its answers; the text would be one more string of each stream.
  return directives === PRIVATE ? HEADERS['cache-control'] : `${directives}, ${NO_TRANSFORM}`;
}
