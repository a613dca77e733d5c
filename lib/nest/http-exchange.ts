import type { HttpAdapterHost } from '@nestjs/core';
import type { RawResponse } from '../sse/response.js';

/** What the adapters of Nest hand out as the request, as far as it is used here. */
export interface HttpRequest {
  readonly method?: string;
  /** The path with its query. */
  readonly url?: string | undefined;
  /** Express: the path alone, as its router reads it. */
  readonly path?: string;
  /** Fastify: the route that its router has found, if any. */
  readonly routeOptions?: { readonly url?: string | undefined };
  readonly headers?: Record<string, string | string[] | undefined>;
  /** The address of the client. If the application trusts its proxy, the proxy names it. */
  readonly ip?: string | undefined;
  /** Of node's request. */
  readonly socket?: { readonly remoteAddress?: string | undefined } | null;
  /** Fastify: node's request. */
  readonly raw?: HttpRequest;
  /** Express: its response. */
  readonly res?: RawResponse;
  /** Express: goes on to the next handler. */
  next?: unknown;
  [RESPONSE]?: RawResponse;
  [ARRIVED]?: number;
}

// A Fastify request does not lead to its response; this link is set on node's request by a hook. A property
// and not a WeakMap, because it is set for every request of the application.
const RESPONSE = Symbol('nestjs-messaging:response');

// How many revocations were known when a request arrived. Set for every request, like RESPONSE.
const ARRIVED = Symbol('nestjs-messaging:arrived');

// Set on node's response once an event stream answers on it.
const TAKEN = Symbol('nestjs-messaging:taken');

/** Has Nest leave a response alone, whatever comes of the handler's result on its way through interceptors. */
export function takeResponse(response: RawResponse & { [TAKEN]?: true }): void {
  response[TAKEN] = true;
}

/** Node's own request behind that of an adapter. */
export function rawRequest(request: HttpRequest): HttpRequest {
  return request.raw ?? request;
}

/** The response to a request; `undefined` for what is no HTTP request. */
export function responseOf(request: HttpRequest): RawResponse | undefined {
  const raw = rawRequest(request);
  return raw[RESPONSE] ?? raw.res;
}

/** How many revocations were known when a request arrived; `undefined` outside HTTP. */
export function arrivalOf(request: HttpRequest): number | undefined {
  return rawRequest(request)[ARRIVED];
}

/**
 * Lets go of the handlers that were to come after the one that answers with an event stream. To be called once the head is
 * written: Express keeps them with the request, for as long as the stream is open, to pass on what goes wrong with views
 * and files, which cannot be sent any more. All else of a request stays, since a stream may use it.
 */
export function releaseHandlers(request: HttpRequest): void {
  if (request.next !== undefined) request.next = undefined;
}

/** The response of an adapter, which the adapter sends its headers with. */
interface HeaderTarget {
  header(name: string, value: string): unknown;
}

/** The response before bodies are read: of Express, which is node's as well, or Fastify's reply around node's. */
type EarlyResponse = HeaderTarget & (RawResponse | { readonly raw: RawResponse });

interface FastifyLike {
  addHook(
    name: 'onRequest' | 'preHandler',
    hook: (
      request: HttpRequest & { raw: HttpRequest },
      reply: HeaderTarget & { raw: RawResponse },
      done: (error?: unknown) => void,
    ) => void,
  ): void;
}

/**
 * Has each request handled before Nest has bodies read. To be called when modules are made.
 *
 * @param handle - goes on by `next`
 */
export function beforeBodies(
  http: HttpAdapterHost,
  handle: (request: HttpRequest, response: EarlyResponse, next: () => void) => void,
): void {
  // A testing module gets its adapter later, and some programs have none.
  http.init$.subscribe(() => {
    const { httpAdapter } = http;
    const type = httpAdapter?.getType?.();
    if (type === 'fastify') {
      const fastify = httpAdapter.getInstance<FastifyLike>();
      fastify.addHook('onRequest', handle);
    } else if (type === 'express') {
      httpAdapter.use(handle);
    }
  });
}

/**
 * Has requests for event streams wait for their turn: thousands of them may come at once. To be called when modules are made,
 * which is before Nest has bodies read: until its turn comes, a request costs no more than node takes to read its head.
 *
 * @param later - handles a request in its turn
 * @param known - how many revocations are known; see {@link arrivalOf}
 */
export function takeStreamsInTurn(
  http: HttpAdapterHost,
  later: (handle: () => void, response: RawResponse) => void,
  known: () => number,
): void {
  beforeBodies(http, (request, response, next) => {
    rawRequest(request)[ARRIVED] = known();
    if (asksForStream(request)) later(next, 'raw' in response ? response.raw : response);
    else next();
  });
}

/**
 * Sees to it that a request leads to its response and, if asked for, that the handling of each request runs inside `around`.
 * To be called before routes are served.
 */
export function installRequestHooks(
  http: HttpAdapterHost,
  around?: (request: HttpRequest, handle: () => void) => void,
): void {
  const { httpAdapter } = http;
  // No HTTP at all: a microservice, a worker, a test.
  const type = httpAdapter?.getType?.();
  if (type !== undefined) replyUnlessTaken(httpAdapter);
  if (type === 'fastify') {
    const fastify = httpAdapter.getInstance<FastifyLike>();
    fastify.addHook('onRequest', (request, reply, done) => {
      request.raw[RESPONSE] = reply.raw;
      done();
    });
  }
  // Not earlier: reading the body continues in a context of the socket's.
  if (around) beforeGuards(http, around);
}

/**
 * Has each request handled after CORS headers were set and its body was read, and before its guards. To be called before routes are served.
 *
 * @param handle - goes on by `next`, or gives it the error that the request is answered with
 */
export function beforeGuards(
  { httpAdapter }: HttpAdapterHost,
  handle: (request: HttpRequest, next: (error?: unknown) => void) => void,
): void {
  const type = httpAdapter?.getType?.();
  if (type === 'fastify') {
    const fastify = httpAdapter.getInstance<FastifyLike>();
    fastify.addHook('preHandler', (request, _reply, done) => handle(request, done));
  } else if (type === 'express') {
    httpAdapter.use((request: HttpRequest, _response: unknown, next: (error?: unknown) => void) =>
      handle(request, next),
    );
  }
}

/** Whether a request says that it wants an event stream, as EventSource and our client do. */
export function asksForStream({ headers }: Pick<HttpRequest, 'headers'>): boolean {
  return headers?.['accept'] === 'text/event-stream';
}

/**
 * A route whose signature asks for the response has Nest throw away what interceptors answer in place of the handler. So
 * those of event streams do not ask for it, and Nest is kept from answering where a stream does.
 */
function replyUnlessTaken(httpAdapter: Pick<HttpAdapterHost['httpAdapter'], 'reply'>): void {
  const reply = httpAdapter.reply.bind(httpAdapter);
  httpAdapter.reply = (response: RawResponse | { readonly raw: RawResponse }, body: unknown, status?: number) => {
    const raw = 'raw' in response ? response.raw : response;
    return TAKEN in raw ? undefined : (reply(response, body, status) as unknown);
  };
}
