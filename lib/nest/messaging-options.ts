import type { IncomingHttpHeaders } from 'node:http';
import type { InjectionToken, ModuleMetadata, OptionalFactoryDependency, Type } from '@nestjs/common';
import type { ListenerFailure } from '../core/reporter.js';
import type { Transport } from '../core/transport.js';
import type { AuthenticationClaims } from '../protocol/authentication.js';
import type { LimitOptions, Limits } from '../protocol/limits.js';
import type { Class } from '../protocol/message.js';
import type { RedisOption } from '../transport/redis-options.js';
import type { GatewayOptions } from './gateway/gateway-options.js';

/**
 * How `SessionMessages` finds its session.
 *
 * - `request`: it is a request-scoped provider of Nest, and so is every provider that injects it.
 * - `async-local`: it is a singleton that finds the session by AsyncLocalStorage. It behaves the same at a
 *   fraction of the cost of request scope. Outside of requests and messages there is no session, and
 *   listening throws.
 */
export type SessionScope = 'request' | 'async-local';

/** Options of class-transformer that decide which properties leave the process. */
export interface ClassTransformerOptions {
  /**
   * Properties that are exposed to one of these groups are sent.
   * @defaultValue none: properties that are exposed to groups are not sent
   */
  groups?: string[] | undefined;
  /**
   * Properties that are exposed in this version are sent.
   * @defaultValue none: versions do not matter
   */
  version?: number | undefined;
}

/** Options of class-validator, the same as for a `ValidationPipe`. They apply to posts and to incoming messages. */
export interface ClassValidatorOptions {
  /**
   * Rules of these groups are checked.
   * @defaultValue none: all rules are checked
   */
  groups?: string[] | undefined;
  /**
   * Whether rules without a group are checked in every group.
   * @defaultValue false
   */
  always?: boolean | undefined;
  /**
   * Whether rules that have groups are left out if no `groups` are given.
   * @defaultValue false
   */
  strictGroups?: boolean | undefined;
  /**
   * Whether properties without a rule are removed from incoming messages, for listeners. A posted message stays as it is,
   * because it belongs to the poster.
   * @defaultValue false
   */
  whitelist?: boolean | undefined;
  /**
   * With `whitelist`: whether a property without a rule makes a message invalid, at the post and on arrival.
   * @defaultValue false
   */
  forbidNonWhitelisted?: boolean | undefined;
  /**
   * Whether instances of classes without any rule are invalid.
   * @defaultValue false
   */
  forbidUnknownValues?: boolean | undefined;
  /**
   * Whether rules of properties that are `undefined` or null are skipped.
   * @defaultValue false
   */
  skipMissingProperties?: boolean | undefined;
  /**
   * Whether rules of properties that are null are skipped.
   * @defaultValue false
   */
  skipNullProperties?: boolean | undefined;
  /**
   * Whether rules of properties that are `undefined` are skipped.
   * @defaultValue false
   */
  skipUndefinedProperties?: boolean | undefined;
}

/** Settings of event streams. */
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
   * How many bytes may wait behind those on their way to one slow reader, before it is cut off. One message of any length does
   * not count. A reader that takes no data for a minute is also cut off. Also how many bytes of missed messages one client may be sent.
   * @defaultValue 1_048_576
   */
  maxBufferedBytes?: number | undefined;
  /**
   * The longest life of a stream, in milliseconds. Its client is then sent away and comes back within about a second, perhaps to
   * another server. Each stream lasts a random time between half of this value and all of it, so that clients do not come back
   * together. Clients of the gateway recover the messages posted meanwhile. A stream of `@Sse()` recovers them only if its channel
   * has a history.
   * @defaultValue no limit
   */
  maxConnectionAgeMs?: number | undefined;
}

/** How long revocations count. */
export interface RevocationOptions {
  /**
   * How long servers remember a revocation, in milliseconds. Until then, they refuse a revoked sign-in. At least as long as the
   * longest sign-in; 1 second to 30 days.
   * @defaultValue 86_400_000 (a day)
   */
  ttlMs?: number | undefined;
}

/** The request that `authenticate` receives if it names no type of its own: the part that all HTTP adapters have in common. */
export interface IncomingRequest {
  /** The headers, with names in lower case. */
  readonly headers: IncomingHttpHeaders;
  /** The HTTP method. */
  readonly method?: string | undefined;
  /** The path and the query. */
  readonly url?: string | undefined;
  /** The value that a guard of the application put there. */
  // oxlint-disable-next-line typescript/no-explicit-any -- the application knows it, and says so where it uses it
  readonly user?: any;
}

/**
 * Options of the module that may come from a factory. All are optional: without any, messages stay in the process.
 *
 * @typeParam Request - the argument of `authenticate`: the request of the HTTP adapter or, in a WebSocket gateway, the socket
 */
// oxlint-disable-next-line typescript/no-explicit-any -- of whatever type, where options are handed on
export interface MessagingOptions<Request = any> {
  /**
   * The Redis that connects servers: ioredis options, a URL, an ioredis instance, or a function that makes one.
   * @defaultValue none: there is one process, and everything else works
   */
  redis?: RedisOption | undefined;
  /**
   * Instead of `redis`: a transport of your own, or a `MemoryTransport` in tests. If it throws, or rejects against its contract,
   * the error is logged: the post then counts as not accepted, and listeners of this server have still got it. The application
   * waits at most 10 s for it to start, and 10 s for it to close.
   * @defaultValue none
   */
  transport?: Transport | undefined;
  /**
   * The start of every Redis channel and key, so that applications can share a Redis. In Redis, `|` follows it. Applications
   * with different prefixes never hear each other.
   * @defaultValue 'messaging:'
   */
  prefix?: string | undefined;
  /**
   * Signs the data that servers send each other on the library's own channels: questions and answers about clients, revocations,
   * and the requests of microservices. Nobody can forge them without the secret, even with write access to Redis. At least 32
   * characters, the same on all servers of the application; `openssl rand -base64 32` makes one. If there are several, the first one
   * signs and all are accepted.
   * @defaultValue none: nothing is signed, and everybody who can write to Redis is trusted
   */
  secret?: string | readonly string[] | undefined;
  /**
   * Returns the user of a request, or `null` for nobody. Called when the session's authentication is first needed, after the
   * guards have run. It may be asynchronous; then see `Session.auth`. If it throws, rejects, takes more than
   * 10 s or returns something that is not {@link AuthenticationClaims}, the log reports it and the user counts as nobody. After the
   * guards of an HTTP request have run, a failure is final for that request.
   * @defaultValue a function that returns `request.user`
   */
  authenticate?:
    | ((request: Request) => AuthenticationClaims | null | undefined | Promise<AuthenticationClaims | null | undefined>)
    | undefined;
  /** How long revocations count. */
  revocation?: RevocationOptions | undefined;
  /** Settings of event streams. */
  sse?: SseOptions | undefined;
  /** Bounds that keep any input from growing memory without end. */
  limits?: LimitOptions | undefined;
  /**
   * Which class-transformer rules apply to outgoing messages, as for `instanceToPlain`. If class-transformer is installed,
   * `@Exclude`, `@Expose` and `@Transform` always apply.
   */
  classTransformer?: ClassTransformerOptions | undefined;
  /**
   * How class-validator's rules are checked. If class-validator is installed, they are always checked, except rules that return
   * a promise.
   */
  classValidator?: ClassValidatorOptions | undefined;
  /**
   * Whether class-validator's rules are checked at the post, so that the poster learns of messages that other servers would
   * refuse. They are always checked on arrival.
   * @defaultValue true
   */
  validateOnPost?: boolean | undefined;
  /**
   * The classes that this application uses if the process has several with one name. It already knows the classes of its
   * channels, and classes with a unique name.
   * @defaultValue none
   */
  types?: readonly Class[] | undefined;
  /**
   * Called for each failure of a listener, at a message or a gap, in addition to the log.
   * @defaultValue none: failures are only logged
   */
  onListenerError?: ((error: unknown, failure: ListenerFailure) => void) | undefined;
}

/** Options that must be known before any factory runs. */
export interface MessagingModuleExtras {
  /**
   * How `SessionMessages` finds its session: request-scoped, or as a singleton by AsyncLocalStorage, at a fraction of the cost.
   * @defaultValue 'request'
   */
  scope?: SessionScope | undefined;
  /**
   * Whether every module of the application sees the providers without importing this one.
   * @defaultValue true
   */
  global?: boolean | undefined;
  /**
   * The endpoint for subscriptions of clients. `true`: with its defaults.
   * @defaultValue false: clients cannot subscribe
   */
  gateway?: GatewayOptions | boolean | undefined;
}

/** Options of `MessagingModule.forRoot()`. */
// oxlint-disable-next-line typescript/no-explicit-any -- as in MessagingOptions
export interface MessagingModuleOptions<Request = any> extends MessagingOptions<Request>, MessagingModuleExtras {}

/** A class that makes the options, for `useClass` and `useExisting`. */
export interface MessagingOptionsFactory {
  /** Returns the options, or a promise of them. */
  createMessagingOptions(): Promise<MessagingOptions> | MessagingOptions;
}

/** Options of `MessagingModule.forRootAsync()`: one of `useFactory`, `useClass` and `useExisting`. */
export interface MessagingModuleAsyncOptions extends MessagingModuleExtras {
  /**
   * Modules with the providers that the factory injects, if they are not global.
   * @defaultValue none
   */
  imports?: ModuleMetadata['imports'] | undefined;
  /**
   * A function that returns the options, or a promise of them.
   * @defaultValue none: a class makes them
   */
  // oxlint-disable-next-line typescript/no-explicit-any -- the arguments are what `inject` names
  useFactory?: ((...dependencies: any[]) => Promise<MessagingOptions> | MessagingOptions) | undefined;
  /**
   * Providers that `useFactory` is called with.
   * @defaultValue none
   */
  inject?: (InjectionToken | OptionalFactoryDependency)[] | undefined;
  /**
   * A class that is instantiated to make the options.
   * @defaultValue none: a factory or an existing provider makes them
   */
  useClass?: Type<MessagingOptionsFactory> | undefined;
  /**
   * The class of a provider that already exists and makes the options.
   * @defaultValue none: a factory or a class of its own makes them
   */
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

/** The token of the module's options with their defaults filled in. */
export const MESSAGING_OPTIONS = Symbol('MESSAGING_OPTIONS');
