import { describe, quote } from '../protocol/channel-name.js';
import { ConfigurationError, ConnectionLostError } from '../protocol/errors.js';
import type { ChangeRequest, OpenRequest } from '../protocol/gateway.js';
import type { MessagingClientOptions } from './client-options.js';
import type { CloseReason } from './client-status.js';
import type { Clock } from './clock.js';
import { quietly } from './isolate.js';
import { LONGEST_RETRY_AFTER_MS } from './times.js';

/** Sends a request to a path below the gateway's. */
export type Post = (path: string, body: OpenRequest | ChangeRequest, signal: AbortSignal) => Promise<Response>;

/** See {@link failureOf}. */
export interface Failure {
  readonly error: ConnectionLostError;
  readonly status: number;
  readonly reason: CloseReason | undefined;
}

/** Makes what sends the requests of one client; it rejects with a ConfigurationError for a URL or headers that cannot be used. */
export function serverRequests({ url, headers, credentials, fetch }: MessagingClientOptions): Post {
  return async (path, body, signal) => {
    const address = addressOf(url, !fetch);
    const all = headersOf(typeof headers === 'function' ? await headers() : headers);
    all.set('content-type', 'application/json');
    all.set('accept', path ? 'application/json' : 'text/event-stream');
    signal.throwIfAborted();
    return (fetch ?? globalThis.fetch)(address.replace(/\/?(\?[^#]*)?(#.*)?$/, `${path}$1`), {
      method: 'POST',
      headers: all,
      body: JSON.stringify(body),
      signal,
      credentials: credentials!,
    });
  };
}

/** Checked before the request: a `fetch` that refuses them rejects as one that finds no network. */
function headersOf(given: object = {}): Headers {
  const headers = new Headers();
  let part = describe(given);
  try {
    const pairs =
      Symbol.iterator in given
        ? (given as Headers)
        : // `new Headers()` would send the text "undefined".
          Object.entries<string>(given as Record<string, string>).filter(([, value]) => value != null);
    for (const pair of pairs) {
      part = quote(pair[0]);
      headers.append(...pair);
    }
    return headers;
  } catch {
    // Without the cause, whose text may quote a secret.
    throw new ConfigurationError(
      `MessagingClient: option "headers": ${part} cannot be sent; names are tokens, values one line of Latin-1`,
    );
  }
}

/** @param isChecked - whether `fetch` of the platform must know what to do with it */
function addressOf(url: string | URL, isChecked: boolean): string {
  const address = url instanceof URL ? url.href : url;
  if (typeof address === 'string' && address && (!isChecked || isFetchable(address))) return address;
  throw new ConfigurationError(
    `MessagingClient: option "url" must be an http(s) URL without user name, absolute outside a page, not ${describe(url)}`,
  );
}

function isFetchable(address: string): boolean {
  // A page may have a scheme of its own, as those of apps do.
  const { href, protocol } = (globalThis.location as Location | undefined) ?? {};
  try {
    const { protocol: scheme, username, password } = new URL(address, href);
    return ['http:', 'https:', protocol].includes(scheme) && !(username || password);
  } catch {
    return false;
  }
}

/** What an answer that is not 200 means: with a reason, that there may be no use in asking again. */
export async function failureOf(response: Response, url: string, clock: Clock): Promise<Failure> {
  const { status, headers } = response;
  // These pass: Request Timeout, Content Too Large (RFC 9110; a limit of somebody on the way), Too Early (RFC 8470), Too
  // Many Requests (RFC 6585).
  const mayPass = status < 400 || status >= 500 || [408, 413, 425, 429].includes(status);
  // The body may be anything: a proxy may have sent it.
  const body =
    status === 401 ? ((await response.json().catch(() => null)) as { readonly reason?: unknown } | null) : null;
  void quietly(() => response.body?.cancel());
  const refused = body?.reason === 'revoked' ? 'revoked' : 'refused';
  const reason = [204, 401, 403].includes(status) ? refused : mayPass ? undefined : 'misconfigured';
  const error = new ConnectionLostError(`The server at ${url} answered with status ${status}`, {
    retryAfterMs: retryAfterOf(headers, clock),
  });
  return { error, status, reason };
}

/** `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, by the server's clock where that is known. */
function retryAfterOf(headers: Headers, clock: Clock): number | undefined {
  // Without one, or if it is neither, it is no number.
  const value = headers.get('retry-after')!;
  const now = Date.parse(headers.get('date')!) || clock.now();
  const ms = +value * 1_000 || Date.parse(value) - now;
  return ms > 0 ? Math.min(ms, LONGEST_RETRY_AFTER_MS) : undefined;
}
