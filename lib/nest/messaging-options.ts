import type { IncomingHttpHeaders } from 'node:http';
import type { InjectionToken, ModuleMetadata, OptionalFactoryDependency, Type } from '@nestjs/common';
import type { ListenerFailure } from '../core/reporter.js';
import type { Transport } from '../core/transport.js';
import type { AuthenticationClaims } from '../protocol/authentication.js';
import type { Limits } from '../protocol/limits.js';
import type { Class } from '../protocol/message.js';
import type { RedisOption } from '../transport/redis-options.js';
import type { GatewayOptions } from './gateway/gateway-options.js';

/**
 * How `SessionMessages` finds its session.
 *
 * - `request`: it is a request-scoped provider of Nest, and so is whatever injects it.
 * - `async-local`: it is a singleton that finds the session by AsyncLocalStorage. Same behaviour at a
 *   fraction of the cost of request scope; outside of requests and messages there is no session, and
 *   listening throws.
 */
export type SessionScope = 'request' | 'async-local';

/** Options of class-transformer that decide what leaves the process. */
export interface ClassTransformerOptions {
  /** Properties that are exposed to one of these groups leave. */
  groups?: string[];
  /** Properties that are exposed in this version leave. */
  version?: number;
}

/** Options of class-validator, as a `ValidationPipe` takes them, for what is posted and what arrives. */
export interface ClassValidatorOptions {
  /** Rules of these groups are checked; without groups, all. */
  groups?: string[];
  /** Whether rules without a group are checked in every group. */
  always?: boolean;
  /** Whether rules that have groups are left out if no `groups` are given. */
  strictGroups?: boolean;
  /**
   * Whether properties without a rule are taken away from what arrives, for listeners. What is posted stays as it is: it
   * is the poster's.
   */
  whitelist?: boolean;
  /** With `whitelist`: a property without a rule makes a message invalid, at the post and on arrival. */
  forbidNonWhitelisted?: boolean;
  /** Whether instances of classes without any rule are invalid. */
  forbidUnknownValues?: boolean;
  /** Whether rules of properties that are `undefined` or null are passed over. */
  skipMissingProperties?: boolean;
  /** Whether rules of properties that are null are passed over. */
  skipNullProperties?: boolean;
  /** Whether rules of properties that are `undefined` are passed over. */
  skipUndefinedProperties?: boolean;
}

/** How event streams of `@Sse()` are kept. */
export interface SseOptions {
  /**
   * Time between two heartbeat comments on a stream, in milliseconds; 0: none.
   * @defaultValue 15_000
   */
  heartbeatMs?: number | undefined;
  /**
   * How long a browser waits before it reconnects, in milliseconds.
   * @defaultValue the browser's own, about 3 seconds
   */
  retryMs?: number | undefined;
  /**
   * How many bytes may gather behind what one slow reader is being sent before it is cut off; one message of any length is
   * not counted. Apart from that, a reader is cut off when it takes nothing at all for a minute.
   * @defaultValue 1_048_576
   */
  maxBufferedBytes?: number | undefined;
  /**
   * How long a stream lasts at most, in milliseconds. Its client is then told to come back, which takes about a second, and
   * may come to another server. Each stream lasts between half as long and this long, at random, so that clients do not come
   * back together. What is posted meanwhile is recovered by clients of the gateway; a stream of `@Sse()` does not get it.
   * @defaultValue as long as the client stays
   */
  maxConnectionAgeMs?: number | undefined;
}

/** How long revocations count. */
export interface RevocationOptions {
  /**
   * How long a revocation is remembered, in milliseconds: until then, whoever comes back with what was revoked is refused. At
   * least as long as the longest sign-in; 1 second to 30 days.
   * @defaultValue 86_400_000 (a day)
   */
  ttlMs?: number | undefined;
}

/** What `authenticate` is given if it names no type of its own: what the requests of all HTTP adapters have. */
export interface IncomingRequest {
  readonly headers: IncomingHttpHeaders;
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** What a guard of the application put there. */
  // oxlint-disable-next-line typescript/no-explicit-any -- the application knows it, and says so where it uses it
  readonly user?: any;
}

type Answer<T> = T | null | undefined;

/**
 * Options of the module that may come from a factory. All are optional: without any, messages stay in the process.
 *
 * @typeParam Request - what `authenticate` is given: the request of the HTTP adapter; in a WebSocket gateway, the socket
 */
// oxlint-disable-next-line typescript/no-explicit-any -- of whatever type, where options are handed on
export interface MessagingOptions<Request = any> {
  /**
   * The Redis that joins servers: ioredis options, a URL, an ioredis instance, or a function that makes one.
   * Without it there is one process, and everything else works.
   */
  redis?: RedisOption | undefined;
  /**
   * Instead of `redis`: a transport of your own, or a `MemoryTransport` in tests. What it throws, or rejects with against
   * its contract, is logged; the post was not accepted then, and listeners of this server have got it all the same. It is
   * waited for 10 s at most at the start and at the end.
   */
  transport?: Transport | undefined;
  /**
   * Before every Redis channel and key, so that applications can share a Redis. `|` stands behind it in Redis. Applications
   * with different prefixes never hear each other.
   * @defaultValue 'messaging:'
   */
  prefix?: string | undefined;
  /**
   * Signs what servers send each other on the library's own channels: questions and answers about clients, revocations, and the
   * requests of microservices. Whoever can write to Redis without it can forge none of them. At least 32 characters, the same on
   * all servers of the application, as `openssl rand -base64 32` makes them. Of several, the first one signs and all are accepted.
   * @defaultValue none: nothing is signed, and whoever can write to Redis is trusted
   */
  secret?: string | readonly string[] | undefined;
  /**
   * Tells who is behind a request; `null`: nobody. Asked when the session's authentication is first needed, after the
   * guards have run. It may be asynchronous; then see {@link Session.auth}. If it throws, rejects, takes more than
   * 10 s or gives something that is not {@link AuthenticationClaims}, that is logged, and it is nobody. Once the
   * guards of an HTTP request have run, a failure is not tried again for that request.
   * @defaultValue gives `request.user`
   */
  authenticate?:
    ((request: Request) => Answer<AuthenticationClaims> | Promise<Answer<AuthenticationClaims>>) | undefined;
  /** How long revocations count. */
  revocation?: RevocationOptions | undefined;
  /** How event streams are kept. */
  sse?: SseOptions | undefined;
  /** Bounds that keep any input from growing memory without end. */
  limits?: Partial<Limits> | undefined;
  /**
   * What of class-transformer's rules applies to outgoing messages, as for `instanceToPlain`. Its `@Exclude`,
   * `@Expose` and `@Transform` are obeyed in any case, where it is installed.
   */
  classTransformer?: ClassTransformerOptions | undefined;
  /**
   * How class-validator's rules are checked. They are in any case, if it is installed, except those that answer by a
   * promise.
   */
  classValidator?: ClassValidatorOptions | undefined;
  /**
   * Whether class-validator's rules are checked at the post, so that the poster is told of what other servers would
   * refuse. They are checked on arrival in any case.
   * @defaultValue true
   */
  validateOnPost?: boolean | undefined;
  /**
   * Which classes this application means where the process has several of one name. The classes of its channels, and
   * those whose names nobody else has, are known without it.
   */
  types?: readonly Class[] | undefined;
  /** Told of each listener's failure, at a message or a gap, beside the log. */
  onListenerError?: ((error: unknown, failure: ListenerFailure) => void) | undefined;
}

/** What must be known before any factory has run. */
export interface MessagingModuleExtras {
  /** @defaultValue 'request' */
  scope?: SessionScope | undefined;
  /**
   * Whether every module of the application sees the providers without importing this one.
   * @defaultValue true
   */
  global?: boolean | undefined;
  /**
   * The endpoint that clients subscribe through; `true`: with its defaults.
   * @defaultValue false: there is none
   */
  gateway?: GatewayOptions | boolean | undefined;
}

/** Options of `MessagingModule.forRoot()`. */
// oxlint-disable-next-line typescript/no-explicit-any -- as in MessagingOptions
export interface MessagingModuleOptions<Request = any> extends MessagingOptions<Request>, MessagingModuleExtras {}

/** A class that makes the options; for `useClass` and `useExisting`. */
export interface MessagingOptionsFactory {
  createMessagingOptions(): Promise<MessagingOptions> | MessagingOptions;
}

/** Options of `MessagingModule.forRootAsync()`: one of `useFactory`, `useClass` and `useExisting`. */
export interface MessagingModuleAsyncOptions extends MessagingModuleExtras {
  imports?: ModuleMetadata['imports'] | undefined;
  // oxlint-disable-next-line typescript/no-explicit-any -- the arguments are what `inject` names
  useFactory?: ((...dependencies: any[]) => Promise<MessagingOptions> | MessagingOptions) | undefined;
  inject?: (InjectionToken | OptionalFactoryDependency)[] | undefined;
  useClass?: Type<MessagingOptionsFactory> | undefined;
  useExisting?: Type<MessagingOptionsFactory> | undefined;
}

/** The options with their defaults filled in. */
export interface ResolvedMessagingOptions extends MessagingOptions {
  readonly prefix: string;
  readonly limits: Limits;
  readonly sse: {
    readonly heartbeatMs: number;
    readonly retryMs: number | undefined;
    readonly maxBufferedBytes: number;
    readonly maxConnectionAgeMs: number | undefined;
  };
  /** `gateway.leaveMs`, if that is not given. */
  readonly leaveMs?: number | undefined;
}

/** The token of {@link ResolvedMessagingOptions}. */
export const MESSAGING_OPTIONS = Symbol('MESSAGING_OPTIONS');
