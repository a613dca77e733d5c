import { describe } from '../protocol/channel-name.js';
import { ConfigurationError, ConnectionClosedError } from '../protocol/errors.js';
import type { ChangeRequest, OpenRequest } from '../protocol/gateway.js';
import type { MessagingClientOptions } from './client-options.js';
import type { CloseReason } from './client-status.js';

/** How requests that failed are spaced: full jitter, since there are many clients. */
export const CLIENT_BACKOFF = { firstMs: 500, longestMs: 30_000, spread: 1 } as const;

/** Sends a request to a path below the gateway's. */
export type Post = (path: string, body: OpenRequest | ChangeRequest, signal: AbortSignal) => Promise<Response>;

/**
 * Makes what sends the requests of one client.
 *
 * @throws ConfigurationError for a URL that `fetch` could do nothing with
 */
export function serverRequests({ url, headers, credentials, fetch }: MessagingClientOptions): Post {
  if (typeof url !== 'string' || (!fetch && !isAddress(url))) {
    throw new ConfigurationError(
      `MessagingClient: option "url" must be the URL of the gateway, outside of a page a whole one, not ${describe(url)}`,
    );
  }
  return async (path, body, signal) => {
    const all = new Headers(typeof headers === 'function' ? await headers() : headers);
    all.set('content-type', 'application/json');
    all.set('accept', path ? 'application/json' : 'text/event-stream');
    return (fetch ?? globalThis.fetch)(url.replace(/\/?(\?.*)?$/, `${path}$1`), {
      method: 'POST',
      headers: all,
      body: JSON.stringify(body),
      signal,
      ...(credentials && { credentials }),
    });
  };
}

function isAddress(url: string): boolean {
  try {
    return Boolean(new URL(url, (globalThis.location as Location | undefined)?.href));
  } catch {
    return false;
  }
}

/** What an answer that is not 200 means: with a reason, there is no use in asking again. */
export function failureOf(status: number, url: string): { error: Error; reason?: CloseReason } {
  const text = `The gateway at ${url} answered with status ${status}`;
  if ([204, 401, 403].includes(status)) return { error: new ConnectionClosedError(text), reason: 'refused' };
  // These pass: Request Timeout, Content Too Large (RFC 9110; a limit of somebody on the way), Too Early (RFC 8470), Too
  // Many Requests (RFC 6585).
  if (status < 400 || status >= 500 || [408, 413, 425, 429].includes(status)) return { error: new Error(text) };
  return { error: new ConnectionClosedError(`${text}; is the option "url" right?`), reason: 'misconfigured' };
}
