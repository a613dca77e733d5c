import http from 'node:http';
import https from 'node:https';
import { createParser } from 'eventsource-parser';
import { Queue } from './queue.js';

/** One event as a browser would dispatch it. */
export interface ReceivedEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: string;
}

export interface SseRequest {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** A plain HTTP client of an event stream. Each has its own connection, as a tab has. */
export class SseClient implements AsyncDisposable {
  readonly events = new Queue<ReceivedEvent>();
  readonly comments = new Queue<string>();
  /** Resolves once the server has ended the stream, or this side has left it. */
  readonly ended: Promise<void>;
  /** The latest `retry:` field, in milliseconds. */
  retryMs: number | undefined;

  private constructor(
    private readonly agent: http.Agent,
    private readonly request: http.ClientRequest,
    private readonly response: http.IncomingMessage,
  ) {
    const parser = createParser({
      onEvent: ({ event = 'message', id, data }) => this.events.push({ event, id, data }),
      onComment: this.comments.push,
      onRetry: (retryMs) => (this.retryMs = retryMs),
    });
    response.setEncoding('utf8').on('data', (chunk: string) => parser.feed(chunk));
    this.ended = closeOf(response);
  }

  /** Resolves once the response's head has arrived. */
  static connect(url: string, { body, ...options }: SseRequest = {}): Promise<SseClient> {
    return new Promise((resolve, reject) => {
      // Kept alive after the stream, as in a browser. A server that shuts down must not wait for it.
      const isSecure = url.startsWith('https:');
      // No authority has signed the certificate of a test.
      const agent = isSecure
        ? new https.Agent({ keepAlive: true, rejectUnauthorized: false })
        : new http.Agent({ keepAlive: true });
      const request = (isSecure ? https : http).request(url, { agent, ...options });
      request.on('error', reject);
      request.on('response', (response) => resolve(new SseClient(agent, request, response)));
      request.end(body);
    });
  }

  get status(): number | undefined {
    return this.response.statusCode;
  }

  get headers(): http.IncomingHttpHeaders {
    return this.response.headers;
  }

  /** The next event's name and parsed data. */
  async next(): Promise<[event: string, data: unknown]> {
    const { event, data } = await this.events.next();
    return [event, JSON.parse(data)];
  }

  /** Stops reading without leaving, like a phone in a tunnel. */
  stall(): void {
    this.response.pause();
  }

  /** Continues to read. */
  resume(): void {
    this.response.resume();
  }

  /** Leaves without a goodbye, like a closed tab. */
  abort(): void {
    this.request.destroy();
    this.agent.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abort();
    await this.ended;
  }
}

/** Resolves once a response has closed, in good order or not. */
function closeOf(response: http.IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    // Many of these tests are about broken streams; 'close' follows.
    response.on('error', () => {});
    response.on('close', resolve);
  });
}
