import type { HttpAdapterHost } from '@nestjs/core';
import type { RawResponse } from '../sse/connection.js';

/** What the adapters of Nest hand out as the request, as far as it is used here. */
export interface HttpRequest {
  readonly method?: string;
  readonly headers?: Record<string, string | string[] | undefined>;
  /** Fastify: node's request. */
  readonly raw?: HttpRequest;
  /** Express: its response. */
  readonly res?: RawResponse;
  [RESPONSE]?: RawResponse;
}

// A Fastify request does not lead to its response; this link is set on node's request by a hook. A property
// and not a WeakMap, because it is set for every request of the application.
const RESPONSE = Symbol('nestjs-messaging:response');

/** Node's own request behind that of an adapter. */
export function rawRequest(request: HttpRequest): HttpRequest {
  return request.raw ?? request;
}

/** The response to a request; `undefined` for what is no HTTP request. */
export function responseOf(request: HttpRequest): RawResponse | undefined {
  const raw = rawRequest(request);
  return raw[RESPONSE] ?? raw.res;
}

interface FastifyLike {
  addHook(
    name: 'onRequest' | 'preHandler',
    hook: (request: { raw: HttpRequest }, reply: { raw: RawResponse }, done: () => void) => void,
  ): void;
}

/**
 * Sees to it that a request leads to its response and, where asked for, that the handling of each request
 * runs inside `around`. To be called before routes are served.
 */
export function installRequestHooks(
  { httpAdapter }: HttpAdapterHost,
  around?: (request: HttpRequest, handle: () => void) => void,
): void {
  // No HTTP at all: a microservice, a worker, a test.
  const type = httpAdapter?.getType?.();
  if (type === 'fastify') {
    const fastify = httpAdapter.getInstance<FastifyLike>();
    fastify.addHook('onRequest', (request, reply, done) => {
      request.raw[RESPONSE] = reply.raw;
      done();
    });
    // Not earlier: reading the body continues in a context of the socket's.
    if (around) fastify.addHook('preHandler', (request, _reply, done) => around(request, done));
  } else if (type === 'express' && around) {
    httpAdapter.use((request: HttpRequest, _response: unknown, next: () => void) => around(request, next));
  }
}
