/** What the server has said about a request that it did not fulfil; the message is a text for people. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
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
  const { message = 'That did not work.' } = (answer ?? {}) as { message?: string | string[] };
  throw new ApiError(response.status, [message].flat()[0]!);
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch {
    throw new ApiError(0, 'The server cannot be reached. Please try again.');
  }
}
