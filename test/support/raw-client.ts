import { once } from 'node:events';
import net from 'node:net';

/** A client that writes and reads the bytes of one connection directly. */
export class RawClient implements AsyncDisposable {
  /** Everything received. */
  received = '';
  readonly closed: Promise<unknown>;

  private constructor(private readonly socket: net.Socket) {
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.received += text;
    });
    socket.on('error', () => {});
    this.closed = once(socket, 'close');
  }

  static async connect(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  /** Sends a part of a request. */
  write(text: string): void {
    this.socket.write(text);
  }

  /** Sends requests, one after the other without waiting for answers. */
  get(...paths: string[]): void {
    this.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nhost: test\r\n\r\n`).join(''));
  }

  /** Resolves once a text has arrived. */
  async until(text: string): Promise<void> {
    while (!this.received.includes(text)) await once(this.socket, 'data');
  }

  /** Stops reading. */
  stall(): void {
    this.socket.pause();
  }

  /** Continues to read. */
  resume(): void {
    this.socket.resume();
  }

  /** Leaves without a goodbye. */
  leave(): void {
    this.socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.leave();
    await this.closed;
  }
}

/** The bodies of successive responses, assembled from their chunks. Throws if they are not well-formed. */
export function readResponses(text: string): { readonly head: string; readonly body: string }[] {
  const responses: { head: string; body: string }[] = [];
  let rest = text;
  while (rest !== '') {
    const headEnd = rest.indexOf('\r\n\r\n');
    const head = rest.slice(0, headEnd);
    if (!head.startsWith('HTTP/1.1 ') || headEnd < 0) throw new Error(`no head: ${JSON.stringify(rest.slice(0, 80))}`);
    rest = rest.slice(headEnd + 4);
    let body = '';
    const length = /^content-length: (\d+)$/im.exec(head)?.[1];
    if (length !== undefined) {
      body = rest.slice(0, Number(length));
      rest = rest.slice(Number(length));
    } else {
      for (;;) {
        const size = /^([\da-f]+)\r\n/i.exec(rest);
        if (size === null) throw new Error(`no chunk: ${JSON.stringify(rest.slice(0, 80))}`);
        const start = size[0].length;
        const bytes = Number.parseInt(size[1]!, 16);
        if (rest.slice(start + bytes, start + bytes + 2) !== '\r\n') throw new Error('a chunk without its end');
        body += rest.slice(start, start + bytes);
        rest = rest.slice(start + bytes + 2);
        if (bytes === 0) break;
      }
    }
    responses.push({ head, body });
  }
  return responses;
}
