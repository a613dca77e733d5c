import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { ChangeRequest, OpenRequest } from '../../lib/protocol/gateway.js';
import { Queue } from './queue.js';

/** An answered request. A stream counts as answered once its head has arrived. */
interface Forwarded {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: OpenRequest & ChangeRequest;
  readonly status: number;
}

/**
 * The proxy between clients and several servers: chooses the server of each request, and simulates network failures.
 * Streams pass unchanged.
 */
export class FaultyProxy implements AsyncDisposable {
  /** The servers that take the next streams and the changes of streams. */
  streamsTo = 0;
  changesTo = 0;
  /** Whether each change goes to the next server. */
  takesTurns = false;
  /** Requests for streams, and others, in the order of their answers. */
  readonly opened = new Queue<Forwarded>();
  readonly changed = new Queue<Forwarded>();
  /** Pieces of streams, in the order in which they pass. */
  readonly pieces = new Queue<string>();
  /** How many requests have come for any server, refused ones included. */
  requestCount = 0;
  readonly #files = new Map<string, { type: string; text: string }>();
  readonly #sockets = new Set<Socket>();
  readonly #streams = new Set<http.IncomingMessage>();
  #isRefusing = false;

  private constructor(
    private readonly server: http.Server,
    /** The servers' URLs. */
    readonly targets: string[],
  ) {
    server.on('request', (request, response) => this.#take(request, response));
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(targets: string[]): Promise<FaultyProxy> {
    const server = http.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FaultyProxy(server, targets);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Serves a text itself. */
  serve(path: string, type: string, text: string): void {
    this.#files.set(path, { type, text });
  }

  /** Cuts every connection, including new ones from now on. */
  refuse(): void {
    this.#isRefusing = true;
    this.cut();
  }

  /** Lets requests through again. */
  accept(): void {
    this.#isRefusing = false;
  }

  /** Cuts every connection, in the middle of any transfer. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Passes nothing more of the open streams, which stay open. */
  silence(): void {
    for (const stream of this.#streams) stream.pause();
  }

  /** Disconnects from the servers; their clients still see open streams. */
  orphan(): void {
    for (const stream of this.#streams)
      stream
        .removeAllListeners('error')
        .on('error', () => {})
        .destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    this.cut();
    await once(this.server, 'close');
  }

  #take(request: http.IncomingMessage, response: http.ServerResponse): void {
    const path = request.url!;
    const file = this.#files.get(path);
    if (file && !this.#isRefusing) return void response.writeHead(200, { 'content-type': file.type }).end(file.text);
    this.requestCount++;
    if (this.#isRefusing) return void request.socket.destroy();
    void this.#forward(request, response, path);
    return undefined;
  }

  async #forward(request: http.IncomingMessage, response: http.ServerResponse, path: string): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const { method = 'GET', headers } = request;
    const isChange = path.endsWith('/channels');
    const note = (status: number): void =>
      (isChange ? this.changed : this.opened).push({
        method,
        path,
        headers,
        body: (text ? JSON.parse(text) : {}) as Forwarded['body'],
        status,
      });
    if (isChange && this.takesTurns) this.changesTo = (this.changesTo + 1) % this.targets.length;
    const target = this.targets[isChange ? this.changesTo : this.streamsTo]!;
    const forwarded = http.request(target + path, { method, headers: { ...headers, connection: 'close' } });
    response.on('close', () => forwarded.destroy());
    // The server is gone, so its client loses the connection too.
    forwarded.on('error', () => response.destroy());
    forwarded.on('response', (answer) => {
      const { statusCode = 502 } = answer;
      const isStream = answer.headers['content-type']?.startsWith('text/event-stream') ?? false;
      response.writeHead(statusCode, { ...answer.headers, connection: 'keep-alive' });
      response.flushHeaders();
      answer.on('error', () => response.destroy());
      if (isStream) {
        note(statusCode);
        this.#streams.add(answer);
        answer.on('close', () => this.#streams.delete(answer));
      }
      answer.on('data', (piece: Buffer) => {
        response.write(piece);
        if (isStream) this.pieces.push(piece.toString());
      });
      answer.on('end', () => {
        if (!isStream) response.on('finish', () => note(statusCode));
        response.end();
      });
    });
    forwarded.end(text);
  }
}
