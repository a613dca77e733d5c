const UNREACHABLE = 'The server cannot be reached. Please try again.';
const PROBE_EVERY_MS = 1_000;

/** What the server has said about a request that it did not fulfil; the message is a text for people. */
export class ApiError extends Error {
  /** @param isUnreachable - whether no server of this application has answered: neither directly nor through a proxy */
  constructor(
    readonly status: number,
    message: string,
    readonly isUnreachable = false,
  ) {
    super(message);
  }
}

/**
 * Sends a request; gives what the server answers.
 *
 * @throws ApiError (rejects)
 */
export async function request<Answer = unknown>(method: string, path: string, body?: object): Promise<Answer> {
  const response = await send(path, {
    method,
    ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') ?? false;
  const answer: unknown = isJson ? JSON.parse(text) : undefined;
  if (response.ok) return answer as Answer;
  const { message } = (answer ?? {}) as { message?: string | string[] };
  if (message !== undefined) throw new ApiError(response.status, [message].flat()[0]!);
  const isOfProxy = response.status >= 502 && response.status <= 504;
  throw new ApiError(response.status, isOfProxy ? UNREACHABLE : 'That did not work.', isOfProxy);
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch {
    throw new ApiError(0, UNREACHABLE, true);
  }
}

let probing: Promise<void> | undefined;

/** Resolves when a server answers; all who wait share the asking. */
export function untilReachable(): Promise<void> {
  return (probing ??= probe().finally(() => (probing = undefined)));
}

async function probe(): Promise<void> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, PROBE_EVERY_MS));
    const response = await fetch('/icon.svg', { method: 'HEAD', cache: 'no-store' }).catch(() => undefined);
    if (response?.ok) return;
  }
}
