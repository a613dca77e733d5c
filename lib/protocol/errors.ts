import type { ErrorCode } from './error-codes.js';

/**
 * The one base class of everything this library throws. Branch on `code`; the text is for people
 * and names the option, path or channel at fault together with the fix.
 */
export class MessagingError extends Error {
  /** The code of the error, for programs. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }

  /** Whether the same call may succeed later without any change. */
  get retryable(): boolean {
    return false;
  }
}

/** An option, a decorator or a channel definition is wrong; thrown at start-up or at the call. */
export class ConfigurationError extends MessagingError {
  constructor(message: string, options?: ErrorOptions) {
    super('CONFIGURATION', message, options);
  }
}

/** A global post or `scope: 'global'` without `redis` in the module's options. Nothing was delivered. */
export class RedisNotEnabledError extends MessagingError {
  constructor() {
    super(
      'REDIS_NOT_ENABLED',
      'Redis needs to be enabled to use this method: pass `redis` to MessagingModule.forRoot(), ' +
        "or post with scope 'auto', which stays on this server if there is no Redis",
    );
  }
}

/** A channel name or the parameters of a template cannot be used as given. */
export class InvalidChannelError extends MessagingError {
  constructor(message: string, options?: ErrorOptions) {
    super('INVALID_CHANNEL', message, options);
  }
}

/** A value inside a message cannot travel. */
export class UnserializableError extends MessagingError {
  /** The path of the value, from the message down: `message.order.repository`. */
  readonly path: string;

  constructor(path: string, problem: string, options?: ErrorOptions) {
    super('UNSERIALIZABLE', `${path}: ${problem}`, options);
    this.path = path;
  }
}

/** Something that arrived is not a message of its channel; it is never delivered. */
export class InvalidMessageError extends MessagingError {
  constructor(message: string, options?: ErrorOptions) {
    super('INVALID_MESSAGE', message, options);
  }
}

/** A limit of the module was reached; the text names the limit and its value. */
export class LimitExceededError extends MessagingError {
  constructor(message: string, options?: ErrorOptions) {
    super('LIMIT_EXCEEDED', message, options);
  }
}

const SIGNED_OUT = { revoked: 'its sign-in was revoked', expired: 'its sign-in has expired' } as const;

/**
 * The session had ended before the call. Posting still works; listening does not. If the sign-in of a request was revoked or has
 * expired, its `SessionMessages` throws Nest's `UnauthorizedException` instead, with this error as its `cause`.
 */
export class SessionClosedError extends MessagingError {
  // As Nest's exception filter knows errors of the package http-errors: for a session that a handler has opened by itself.
  /** @internal */
  declare readonly statusCode?: 401;
  /** @internal */
  declare readonly status?: 401;
  /** @internal */
  declare readonly expose?: true;

  /** @param reason - why it had closed, if that is known */
  constructor(action: string, reason?: string) {
    const signedOut = SIGNED_OUT[reason as keyof typeof SIGNED_OUT];
    super(
      'SESSION_CLOSED',
      signedOut === undefined
        ? `${action} was called after its session had closed. A session ends with its request or stream; ` +
            'inject MessagingService for work that must outlive it'
        : `${action} was called after its session had closed: ${signedOut}`,
    );
    if (signedOut !== undefined) Object.assign(this, { statusCode: 401, status: 401, expose: true });
  }
}

/** The broker cannot be reached. */
export class TransportUnavailableError extends MessagingError {
  constructor(message: string, options?: ErrorOptions) {
    super('TRANSPORT_UNAVAILABLE', message, options);
  }

  override get retryable(): boolean {
    return true;
  }
}

/** There is no such channel for clients, or not for this one; a server does not say which. */
export class ChannelDeniedError extends MessagingError {
  constructor(message: string, options?: ErrorOptions) {
    super('CHANNEL_DENIED', message, options);
  }
}

/** The client was closed, or the server told it to stop: its sign-in was revoked or refused. */
export class ConnectionClosedError extends MessagingError {
  constructor(message: string, options?: ErrorOptions) {
    super('CONNECTION_CLOSED', message, options);
  }
}

/** A client has no connection to its server for now and tries again. `client.status.error` holds it. */
export class ConnectionLostError extends MessagingError {
  /** How long the server has asked to wait (`Retry-After`), in milliseconds, if it has. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options?: ErrorOptions & { readonly retryAfterMs?: number | undefined }) {
    super('CONNECTION_LOST', message, options);
    this.retryAfterMs = options?.retryAfterMs;
  }

  override get retryable(): boolean {
    return true;
  }
}
