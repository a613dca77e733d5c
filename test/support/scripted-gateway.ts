import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type {
  ChangeRequest,
  ChannelAnswer,
  MessageFrame,
  OpenRequest,
  SubscribeError,
} from '../../lib/protocol/gateway.js';
import type { GapReason } from '../../lib/protocol/position.js';
import { Queue } from './queue.js';

/** A request to the gateway, open to inspection by a test. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: OpenRequest & ChangeRequest;
}

/** One request of a client, for the test to answer by hand. */
export class Exchange {
  /** Resolves once the client has left, or the whole answer was sent. */
  readonly closed: Promise<void>;

  constructor(
    readonly request: SeenRequest,
    private readonly response: http.ServerResponse,
  ) {
    this.closed = new Promise((resolve) => response.on('close', resolve));
  }

  /** The names to subscribe to. */
  get wanted(): string[] {
    return (this.request.body.channels ?? this.request.body.subscribe ?? []).map(({ channel }) => channel);
  }

  /** Answers without a stream. */
  refuse(status: number, body = '', headers: http.OutgoingHttpHeaders = {}): void {
    this.response.writeHead(status, headers).end(body);
  }

  /** Opens the event stream and sends nothing more. */
  open(contentType = 'text/event-stream; charset=utf-8'): void {
    this.response.writeHead(200, { 'content-type': contentType });
    this.response.flushHeaders();
  }

  /** Writes bytes unchanged, in one chunk. */
  write(bytes: string | Buffer): void {
    this.response.write(bytes);
  }

  event(name: string, data: unknown, fields = ''): void {
    this.write(`event: ${name}\n${fields}data: ${JSON.stringify(data)}\n\n`);
  }

  /** Opens the stream, if necessary, and makes it ready. */
  ready({
    connection = 'c1',
    heartbeatMs = 15_000,
    denied = {},
    epoch = 'e',
    offset = 0,
    lost = {},
  }: ReadyOptions = {}): void {
    if (!this.response.headersSent) this.open();
    const claims = new Map(this.request.body.channels?.map(({ channel, position }) => [channel, position]));
    const channels = answers(this.wanted, denied).map((answer) => {
      if (answer.error || epoch === null) return answer;
      const { channel } = answer;
      const recovered = claims.get(channel) && { recovered: !lost[channel] };
      const reason = lost[channel] && { reason: lost[channel] };
      return { channel, position: { epoch, offset }, ...recovered, ...reason };
    });
    this.event('messaging:ready', { connection, heartbeatMs, position: '-', channels });
  }

  /** @param offset - of the message; becomes its id */
  message(frame: Partial<MessageFrame> & { channel: string }, offset?: number): void {
    const id = offset === undefined ? '' : `id: ${offset}\n`;
    this.write(`${id}data: ${JSON.stringify({ at: 1_000, data: null, ...frame })}\n\n`);
  }

  /** Answers to a change. */
  answer(denied: Denied = {}): void {
    this.response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ channels: answers(this.wanted, denied) }));
  }

  end(): void {
    this.response.end();
  }

  /** Breaks off in the middle of anything. */
  cut(): void {
    this.response.destroy();
  }
}

/** The contents of {@link Exchange.ready}. */
export interface ReadyOptions {
  readonly connection?: string;
  readonly heartbeatMs?: number;
  readonly denied?: Denied;
  /** The positions of all channels; null for a server without positions. */
  readonly epoch?: string | null;
  readonly offset?: number;
  /** The channels with missing messages, and the reasons. */
  readonly lost?: Readonly<Record<string, GapReason>>;
}

/** The denied subscriptions, and their errors. */
export type Denied = Readonly<Record<string, SubscribeError>>;

function answers(channels: readonly string[], denied: Denied): ChannelAnswer[] {
  return channels.map((channel) => {
    const error = denied[channel];
    return error === undefined ? { channel } : { channel, error };
  });
}

/**
 * A server that speaks the gateway's protocol and lets the test choose the answers and their times: hold an answer, refuse,
 * cut off, or send garbage.
 */
export class ScriptedGateway implements AsyncDisposable {
  /** Requests for a stream. */
  readonly streams = new Queue<Exchange>();
  /** Requests for a change. */
  readonly changes = new Queue<Exchange>();
  /** All requests, in the order in which they came. */
  readonly requests: SeenRequest[] = [];
  private readonly server: http.Server;

  private constructor() {
    this.server = http.createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const seen: SeenRequest = {
          method: request.method!,
          path: request.url!,
          headers: request.headers,
          body: JSON.parse(Buffer.concat(chunks).toString() || '{}') as SeenRequest['body'],
        };
        this.requests.push(seen);
        const queue = /\/channels($|\?)/.test(seen.path) ? this.changes : this.streams;
        queue.push(new Exchange(seen, response));
      });
    });
  }

  static async start(): Promise<ScriptedGateway> {
    const gateway = new ScriptedGateway();
    await new Promise<void>((resolve) => gateway.server.listen(0, '127.0.0.1', resolve));
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/messages`;
  }

  /** The next stream, made ready. */
  async ready(options?: ReadyOptions): Promise<Exchange> {
    const stream = await this.streams.next();
    stream.ready(options);
    return stream;
  }

  /** The next change, answered. */
  async answered(denied?: Denied): Promise<Exchange> {
    const change = await this.changes.next();
    change.answer(denied);
    return change;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }
}
