import type { CanActivate, ModuleMetadata, Type } from '@nestjs/common';
import { arrayOf, checkOptions, wholeNumber, type OptionCheck } from '../../protocol/check-options.js';

/** Options of the gateway, the endpoint for subscriptions of clients. */
export interface GatewayOptions {
  /**
   * The path of the gateway. The application's global prefix and default version come before it.
   * @defaultValue 'messages'
   */
  path?: string | undefined;
  /**
   * Guards before each of its requests, after those of the application.
   * @defaultValue none
   */
  guards?: (Type<CanActivate> | CanActivate)[] | undefined;
  /**
   * Decorators for its controller and for each of its routes, as if they were written above them: `Public()`, `SkipThrottle()`,
   * `ApiExcludeController()`. Guards and interceptors of the whole application then find their metadata there. A decorator for
   * classes alone, or for methods alone, decorates only those. Guards, pipes, interceptors and filters of such a decorator run
   * once.
   * @defaultValue none
   */
  decorators?: (ClassDecorator | MethodDecorator)[] | undefined;
  /**
   * Origins whose pages may use the gateway even if the application's CORS does not allow them: `https://app.example`. For applications
   * whose proxy handles CORS, or forwards requests with another host.
   * @defaultValue none: pages of its own origin, and those that the application's CORS allows
   */
  origins?: string[] | undefined;
  /**
   * Modules with the providers that the guards inject, if they are not global.
   * @defaultValue none
   */
  imports?: ModuleMetadata['imports'] | undefined;
  /**
   * The version of its routes, if the application has versioning.
   * @defaultValue the application's default version
   */
  version?: string | string[] | symbol | undefined;
  /**
   * How long a change of subscriptions waits for the server that holds the stream, in milliseconds, before it is
   * answered 504.
   * @defaultValue 5_000
   */
  timeoutMs?: number | undefined;
  /**
   * How long messages are kept, at least, if there is room, for clients that have lost their connection and come back, in
   * milliseconds. 0: not at all. Must be longer than clients need to notice a dead connection: one and a half heartbeats and 1.5 s.
   * @defaultValue 60_000
   */
  recoveryMs?: number | undefined;
  /**
   * How many bytes these messages may take on one server, for all channels together, with the data to compare servers (256 bytes for
   * each server that posts to a channel). One channel takes at most `sse.maxBufferedBytes`.
   * Up to 9,007,199,254,740,991.
   * @defaultValue 16_777_216
   */
  recoveryBytes?: number | undefined;
  /**
   * How long this server stays, at most, after a shutdown has sent its clients away, in milliseconds. Until its clients, and those
   * whose connections broke off shortly before, are back elsewhere, it sends the other servers the messages that they missed. It
   * accepts no connections meanwhile, and does not stay if there is no client or no other server. It does not wait for clients that
   * have only channels with a history. All clients come back within this time, less 3 s, so allow 3 s for each thousand of them, and
   * 4 more. 0: not at all. The end of the connections takes up to 0.7 s more if Redis does not answer.
   * @defaultValue 8_000; under PM2 at most its `kill_timeout` less 0.5 s, or half of it if that is more: 1_100 by default
   */
  leaveMs?: number | undefined;
  /**
   * How long a method decorated with `@AuthorizeChannel` may take to decide, in milliseconds. A slower one denies, and the log
   * reports it.
   * @defaultValue 5_000
   */
  authorizerTimeoutMs?: number | undefined;
  /**
   * How many of these methods run at a time on one server. Further calls wait.
   * @defaultValue 1_000
   */
  maxAuthorizers?: number | undefined;
  /**
   * How many requests may wait at a time on one server: for these methods, or for another server that has never answered. Further ones
   * are answered 503. One user, or all anonymous clients at one address, may have a quarter of them; further ones of theirs are
   * answered 429.
   * @defaultValue 1_000
   */
  maxPendingRequests?: number | undefined;
  /**
   * How many questions about missed messages may be open to one other server at a time; further ones wait. Each answer is at most
   * as long as a message may be.
   * @defaultValue 4
   */
  maxRecoveriesAtOnce?: number | undefined;
}

/** The default of the option `path`. */
export const GATEWAY_PATH = 'messages';

/** The defaults of the options that are numbers. */
export const GATEWAY_DEFAULTS = {
  timeoutMs: 5_000,
  recoveryMs: 60_000,
  recoveryBytes: 16 * 1024 * 1024,
  leaveMs: 8_000,
  authorizerTimeoutMs: 5_000,
  maxAuthorizers: 1_000,
  maxPendingRequests: 1_000,
  maxRecoveriesAtOnce: 4,
} as const;

/** As browsers write it. A page in a sandbox, whose origin is `null`, may be anybody's. */
const ORIGIN = /^[a-z][a-z\d+.-]*:\/\/[^\s/?#@A-Z]+$/;

/** The token of {@link GatewayOptions}. */
export const GATEWAY_OPTIONS = Symbol('GATEWAY_OPTIONS');

const OPTIONS: Record<string, OptionCheck> = {
  path: (value) =>
    typeof value === 'string' && !/[\s:*?#]/.test(value) ? undefined : 'a path without parameters, as "messages"',
  guards: arrayOf('guards', 'a guard', (guard) => typeof guard === 'function' || isGuard(guard)),
  // Each is checked where it is put.
  decorators: (value) => (Array.isArray(value) ? undefined : 'an array of decorators, as [Public()]'),
  origins: arrayOf(
    'origins as browsers write them, as "https://app.example"',
    'an origin as browsers write it, as "https://app.example"',
    (origin) => typeof origin === 'string' && ORIGIN.test(origin),
  ),
  imports: (value) => (Array.isArray(value) ? undefined : 'an array'),
  version: (value) =>
    typeof value === 'string' || typeof value === 'symbol' || Array.isArray(value) ? undefined : 'a version of Nest',
  timeoutMs: wholeNumber(1),
  recoveryMs: wholeNumber(0),
  // Of many channels, so that no string or timer has to hold it.
  recoveryBytes: wholeNumber(0, Number.MAX_SAFE_INTEGER),
  leaveMs: wholeNumber(0),
  authorizerTimeoutMs: wholeNumber(1),
  maxAuthorizers: wholeNumber(1),
  maxPendingRequests: wholeNumber(1),
  maxRecoveriesAtOnce: wholeNumber(1),
};

/** What the module's option `gateway` may be. */
export const checkGateway: OptionCheck = (value, path) => {
  if (typeof value === 'boolean') return undefined;
  if (typeof value !== 'object' || value === null) return 'true, false or an object of options';
  return checkOptions(value, path, OPTIONS);
};

function isGuard(value: unknown): value is CanActivate {
  return typeof (value as Partial<CanActivate> | null)?.canActivate === 'function';
}
