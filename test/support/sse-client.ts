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

/** A plain HTTP client of an event stream, each with a connection of its own, as a tab has. */
export class SseClient implements AsyncDisposable {
  readonly events = new Queue<ReceivedEvent>();
  readonly comments = new Queue<string>();
  /** Resolves when the server has ended the stream, or this side has left it. */
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

  /** Resolves when the response's head has come. */
  static connect(url: string, { body, ...options }: SseRequest = {}): Promise<SseClient> {
    return new Promise((resolve, reject) => {
      // Kept alive after the stream, as a browser does: a server that shuts down must not wait for that.
      const isSecure = url.startsWith('https:');
      // The certificate of a test is nobody's.
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

  /** Stops reading without leaving: a phone in a tunnel. */
  stall(): void {
    this.response.pause();
  }

  /** Reads on. */
  resume(): void {
    this.response.resume();
  }

  /** Leaves without a word, as a closed tab does. */
  abort(): void {
    this.request.destroy();
    this.agent.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abort();
    await this.ended;
  }
}

/** Resolves when a response has closed, in good order or not. */
function closeOf(response: http.IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    // Being cut off is what many of these tests are about; 'close' follows.
    response.on('error', () => {});
    response.on('close', resolve);
  });
}
