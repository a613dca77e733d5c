import { once } from 'node:events';
import http2 from 'node:http2';
import { Readable } from 'node:stream';

/** `fetch` over HTTP/2 without TLS, which Node's `fetch` does not support. Each request has its own connection. */
export const fetchByHttp2: typeof fetch = async (input, { method = 'GET', headers, body, signal } = {}) => {
  signal?.throwIfAborted();
  const { origin, pathname, search } = new URL(input as string);
  const named: Record<string, string> = {};
  new Headers(headers).forEach((value, name) => (named[name] = value));
  const session = http2.connect(origin);
  // The request fails with the same error.
  session.on('error', () => {});
  const request = session.request({
    ':method': method,
    ':path': pathname + search,
    ...named,
  });
  request.on('close', () => session.close()).end(body as string | undefined);
  signal?.addEventListener('abort', () => session.destroy(signal.reason as Error));
  const [{ ':status': status, ...head }] = (await once(request, 'response')) as [Record<string, string>];
  const names = Object.entries(head).filter(([name]) => !name.startsWith(':'));
  return new Response(Readable.toWeb(request) as ReadableStream, { status: Number(status), headers: names });
};
