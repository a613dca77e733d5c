import { ServerResponse } from 'node:http';
import type { Http2ServerResponse, ServerHttp2Session } from 'node:http2';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';

/** What an event stream is written to: node's response, of HTTP/1 or of HTTP/2 with its compatible interface. */
export type RawResponse = ServerResponse;

// `no-transform` keeps compressing middleware and proxies from holding events back, `x-accel-buffering`
// keeps nginx from it. What a stream carries is for one client: a cache that answers several requests by one would hand it
// to others.
const NO_TRANSFORM = 'no-transform';
const HEADERS = {
  'content-type': 'text/event-stream',
  'x-accel-buffering': 'no',
  'cache-control': `private, no-store, ${NO_TRANSFORM}`,
} as const;

/**
 * The headers of an event stream, beside those that the application has set.
 *
 * @param cacheControl - that of the application
 */
export function headersOf(
  response: RawResponse,
  cacheControl = response.getHeader('cache-control'),
): Record<string, string> {
  const headers: Record<string, string> = { ...HEADERS };
  if (cacheControl !== undefined) headers['cache-control'] = withNoTransform(cacheControl);
  // Said in words, since node would add how long the connection is kept after the stream: clients of Node (undici) keep
  // spare ones for as long, and a server that closes waits for those.
  if (!isHttp2(response) && response.shouldKeepAlive) headers['connection'] = 'keep-alive';
  return headers;
}

/** Whether nobody can receive this response any more. */
export function isGone(response: RawResponse): boolean {
  const { destroyed, closed, writableFinished } = writableOf(response);
  // The stream of a HEAD request of HTTP/2 is finished from the beginning.
  const isFinished = writableFinished && !isHttp2(response);
  return destroyed || closed || isFinished || (connectionOf(response)?.destroyed ?? true);
}

/** Calls a function when nobody can receive this response any more; perhaps more than once. */
export function onceGone(response: RawResponse, run: () => void): void {
  const connection = isWaitingForTurn(response) ? connectionOf(response) : undefined;
  if (connection === undefined) {
    response.on('close', run);
    return;
  }
  // Node tells only the response whose turn it is that its connection has closed. One listener for all that wait, since
  // clients decide how many those are.
  const waiting = waitingOn(connection);
  waiting.add(run);
  response.on('close', () => {
    waiting.delete(run);
    run();
  });
}

/** Cuts off a request that must not be answered: a browser would take an error status for final. */
export function destroyResponse(response: RawResponse): void {
  writableOf(response).destroy();
}

/** Whether it is behind other responses to requests that were sent at once over one connection of HTTP/1.1 (pipelining). */
export function isWaitingForTurn(response: RawResponse): boolean {
  return !isHttp2(response) && response.socket === null && !response.writableFinished;
}

/** What holds the bytes that wait: of HTTP/2's response the stream, since the response itself does not tell. */
export function writableOf(response: RawResponse): Writable {
  return isHttp2(response) ? response.stream : response;
}

/** The session of HTTP/2, while it is open, that a response belongs to. */
export function sessionOf(response: RawResponse): ServerHttp2Session | undefined {
  return isHttp2(response) ? (response.stream.session as ServerHttp2Session | undefined) : undefined;
}

/**
 * The socket of a response, where chunks may be written to it directly: half the cost of a write to the response
 * (bench/spaced.ts). Not where somebody stands between, as compression does, nor over TLS, nor where the client does
 * not know chunks; and only once the response holds nothing back.
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
  // That of the request, too: a response that waits for its turn has none of its own yet.
  return response.socket ?? (response.req as { socket?: Socket } | undefined)?.socket;
}

function withNoTransform(cacheControl: number | string | readonly string[]): string {
  const directives = typeof cacheControl === 'object' ? cacheControl.join(', ') : String(cacheControl);
  return /(?:^|,)\s*no-transform\s*(?:,|$)/i.test(directives) ? directives : `${directives}, ${NO_TRANSFORM}`;
}
