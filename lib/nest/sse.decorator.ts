import { HttpCode, RequestMapping, RequestMethod } from '@nestjs/common';
import { HTTP_CODE_METADATA, ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import type { Observable } from 'rxjs';
import { checkOptions, strings, wholeNumber } from '../protocol/check-options.js';
import { handlerName } from './handler-name.js';
import { injectedParameter } from './injected-parameter.js';
import { standIn } from './stand-in.js';
import { StreamSignal } from './stream-signal.js';
import { SseExchange, SseExchangePipe, type SseRoute } from './sse-exchange.js';

/** Options of {@link Sse}. */
export interface SseRouteOptions {
  /**
   * Time between two heartbeat comments, in milliseconds; 0: none.
   * @defaultValue the module's `sse.heartbeatMs`
   */
  heartbeatMs?: number | undefined;
  /**
   * Scopes that the request's authentication must have, all of them: 401 without an authentication, 403 without a scope.
   * @defaultValue none
   */
  requiredScopes?: readonly string[] | undefined;
  /**
   * The HTTP method. A browser's EventSource supports only GET.
   * @defaultValue RequestMethod.GET
   */
  method?: RequestMethod | undefined;
}

type Stream = Observable<unknown> | AsyncIterable<unknown>;
type StreamHandler = (...args: never[]) => Stream | Promise<Stream>;

const OPTIONS = {
  heartbeatMs: wholeNumber(0),
  requiredScopes: strings,
  method: (value: unknown) => (typeof value === 'number' && value in RequestMethod ? undefined : 'a RequestMethod'),
};

/**
 * Answers requests with a stream of server-sent events. Each message of the method's Observable becomes one event; the
 * method may also return an AsyncIterable, or a promise of either. A message of a class is an event with that
 * class's name; a plain value is a `message` event. The data is the message as JSON.
 *
 * Guards, pipes and interceptors run before the stream starts. Exception filters answer failures before the first
 * byte. The library unsubscribes from the source as soon as the client has gone. When the source completes,
 * the browser does not reconnect; when it fails, the browser reconnects.
 *
 * @throws ConfigurationError for unknown or wrong options
 * @example
 * ```ts
 * @Sse('users')
 * users(): Observable<UserUpdate> {
 *   return this.messages.createStream(UserUpdates);
 * }
 * ```
 */
export function Sse(path: string | string[] = '/', options: SseRouteOptions = {}) {
  return <Handler extends StreamHandler>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Handler>,
  ): TypedPropertyDescriptor<Handler> => {
    const { method = RequestMethod.GET, ...routeOptions } = options;
    const name = handlerName('@Sse()', target, key);
    checkOptions(options, `@Sse() on ${name}`, OPTIONS);
    const original = descriptor.value as unknown as (...args: unknown[]) => unknown;
    const count = parameterCount(target, key, original);
    const route: SseRoute = { ...routeOptions, handler: name };
    injectedParameter('@Sse()', SseExchangePipe)(target, key, count);
    if (StreamSignal.isAskedFor(target, key)) addFirst(StreamSignal.provide(), target, key, count + 1);
    // With the metadata of decorators below this one.
    const wrapped = standIn(original, function (...args) {
      const exchange = args[count];
      // Called by other code, a test for one, it is the method as it was written.
      if (!(exchange instanceof SseExchange)) return original.apply(this, args);
      return exchange.answer(route, () => original.apply(this, args.slice(0, count)));
    });
    descriptor.value = wrapped as unknown as Handler;
    // Else Nest's own, which is 201 for POST.
    if (!Reflect.hasOwnMetadata(HTTP_CODE_METADATA, wrapped)) HttpCode(200)(target, key, descriptor);
    RequestMapping({ path, method })(target, key, descriptor);
    return descriptor;
  };
}

/** Adds a parameter that Nest takes from the request before all others, in the order in which it knows them. */
function addFirst(decorator: ParameterDecorator, target: object, key: string | symbol, index: number): void {
  const others = (Reflect.getMetadata(ROUTE_ARGS_METADATA, target.constructor, key) ?? {}) as object;
  Reflect.defineMetadata(ROUTE_ARGS_METADATA, {}, target.constructor, key);
  decorator(target, key, index);
  const own = Reflect.getMetadata(ROUTE_ARGS_METADATA, target.constructor, key) as object;
  Reflect.defineMetadata(ROUTE_ARGS_METADATA, { ...own, ...others }, target.constructor, key);
}

function parameterCount(target: object, key: string | symbol, handler: (...args: unknown[]) => unknown): number {
  const decorated = (Reflect.getMetadata(ROUTE_ARGS_METADATA, target.constructor, key) ?? {}) as Record<
    string,
    { index: number }
  >;
  return Math.max(handler.length, ...Object.values(decorated).map(({ index }) => index + 1));
}
