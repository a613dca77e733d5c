/**
 * Every code a {@link MessagingError} may carry, with what a caller can do about it.
 * `retryable`: the same call may succeed later without a change of code or configuration.
 * A test keeps docs/errors.md equal to this table. It is separate from the errors, so that pages do not load its texts.
 */
export const ERROR_CODES = {
  CONFIGURATION: {
    retryable: false,
    meaning: 'an option, a decorator or a channel definition is wrong; `replay` or `id` on a channel without history',
  },
  REDIS_NOT_ENABLED: { retryable: false, meaning: 'a global post, but the module has no `redis`' },
  INVALID_CHANNEL: { retryable: false, meaning: 'a channel name or its parameters cannot be used as given' },
  INVALID_LISTENER: { retryable: false, meaning: 'a listener is not a function' },
  UNSERIALIZABLE: { retryable: false, meaning: 'a value inside a message cannot be sent; the error names its path' },
  INVALID_MESSAGE: { retryable: false, meaning: 'a value is not a valid message of its channel' },
  LIMIT_EXCEEDED: { retryable: false, meaning: 'a limit of the module was reached' },
  NO_SESSION: { retryable: false, meaning: '`SessionMessages` was used outside a request or message' },
  SESSION_CLOSED: { retryable: false, meaning: 'the session had ended before the call' },
  TRANSPORT_UNAVAILABLE: { retryable: true, meaning: 'the broker cannot be reached' },
  CHANNEL_DENIED: { retryable: false, meaning: 'there is no such channel for this client' },
  CONNECTION_CLOSED: { retryable: false, meaning: 'the client was closed, or the server told it to stop' },
  CONNECTION_LOST: { retryable: true, meaning: 'the client has lost its connection to the server, and tries again' },
} as const satisfies Record<string, { retryable: boolean; meaning: string }>;

/** One of the keys of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES;
