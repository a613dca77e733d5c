const UNREACHABLE = 'The server cannot be reached. Please try again.';
const PROBE_EVERY_MS = 1_000;

/** What the server has said about a request that it did not fulfil; the message is a text for people. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }

  /** Whether no server has answered: neither directly nor through a proxy. */
  get isUnreachable(): boolean {
    return this.status === 0 || (this.status >= 502 && this.status <= 504);
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
  const { message = textFor(response.status) } = (answer ?? {}) as { message?: string | string[] };
  throw new ApiError(response.status, [message].flat()[0]!);
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch {
    throw new ApiError(0, UNREACHABLE);
  }
}

function textFor(status: number): string {
  return status >= 502 && status <= 504 ? UNREACHABLE : 'That did not work.';
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
