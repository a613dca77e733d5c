/** What the server has said about a request that it did not fulfil. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Sends a request; gives what the server answers, or throws an ApiError with a text for people. */
export async function request(method, path, body) {
  let response;
  try {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new ApiError(0, 'The server cannot be reached. Please try again.');
  }
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json');
  const answer = isJson ? JSON.parse(text) : undefined;
  if (response.ok) return answer;
  throw new ApiError(response.status, [answer?.message ?? 'That did not work.'].flat()[0]);
}
