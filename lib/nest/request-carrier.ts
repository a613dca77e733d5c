import { responseOf } from './http-exchange.js';

/** A socket of a gateway, or of GraphQL's subscriptions. */
interface SocketLike {
  once(event: string, listener: () => void): unknown;
}

/** What tells the end of what is handled. */
export interface Carrier {
  /** The HTTP request, or the socket. */
  readonly origin: object;
  /** What guards put the user on, and what `authenticate` is given. */
  readonly request: object;
}

/** How deep contexts of GraphQL hold what they were made for: `{ req: { extra: { socket } } }`. */
const MAX_DEPTH = 2;

/**
 * The HTTP request or the socket behind what Nest injects as `REQUEST`, which GraphQL keeps in a context of its own.
 *
 * @returns `undefined` for what never tells an end
 */
export function carrierOf(request: object, depth = MAX_DEPTH): Carrier | undefined {
  const { req, reply, extra } = request as Readonly<Record<string, unknown>>;
  // First, since a context of GraphQL may have a response too.
  const inner = isObject(req) && req !== request && depth > 0 ? carrierOf(req, depth - 1) : undefined;
  if (inner !== undefined) return inner;
  if (isResponse(responseOf(request)) || isSocket(request)) return { origin: request, request };
  const socket = isObject(extra) ? extra['socket'] : undefined;
  if (isObject(socket) && isSocket(socket)) return { origin: socket, request };
  const replied = isObject(reply) ? reply['request'] : undefined;
  return isObject(replied) && depth > 0 ? carrierOf(replied, depth - 1) : undefined;
}

/** Calls a function when a socket has closed; at once if it has. */
export function onceClosed(socket: object, run: () => void): void {
  if (isClosed(socket)) {
    run();
    return;
  }
  const emitter = socket as SocketLike;
  emitter.once('disconnect', run);
  emitter.once('close', run);
}

function isClosed(socket: object): boolean {
  const { readyState, disconnected, destroyed } = socket as Readonly<Record<string, unknown>>;
  // Of ws, of socket.io, of node.
  return readyState === 3 || disconnected === true || destroyed === true;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isSocket(value: object): value is SocketLike {
  return typeof (value as Partial<SocketLike>).once === 'function';
}

/** A message of anybody's may have a property of that name. */
function isResponse(value: { on?: unknown } | undefined): boolean {
  return typeof value?.on === 'function';
}
