import { Readable, type Writable } from 'node:stream';
import type { RawResponse } from '../sse/response.js';

/** A reply of Fastify, as far as it is used here. */
export interface FastifyReply {
  readonly raw: RawResponse;
  /** Takes the response away from the framework. */
  hijack(): void;
  send(payload: unknown): void;
  header(name: string, value: string): void;
  removeHeader(name: string): void;
  getHeader(name: string): number | string | string[] | undefined;
}

/**
 * Has Fastify do what it does before the head of any response, and then takes the response over: `onSend` hooks run, in
 * which cookies and sessions are written, and the headers of the reply are set.
 *
 * @param write - writes the head; called at once, or once the hooks are done. Not called where one of them answers instead
 */
export function takeOverFromFastify(reply: FastifyReply, write: () => void): void {
  // For hooks that ask for it: most that look at the body leave event streams alone.
  reply.header('content-type', 'text/event-stream');
  reply.send(
    new Head(reply, () => {
      write();
      // Else Fastify may still answer what went wrong.
      if (reply.raw.headersSent) reply.hijack();
    }),
  );
}

/** What Fastify takes for the body: empty, and a stream, since that is what it sets headers for without writing them. */
class Head extends Readable {
  /** What others had the response tell them before Fastify came to it. */
  private others: ReadonlyMap<string | symbol, readonly unknown[]> = new Map();

  constructor(
    private readonly reply: FastifyReply,
    private readonly write: () => void,
  ) {
    super();
  }

  override _read(): void {
    this.push(null);
  }

  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    // Last called by Fastify itself, between the hooks and what it does to the response.
    this.others = listenersOf(this.reply.raw);
    // Written with the head in any case; a header of the response itself would have node keep them all a second time.
    this.reply.removeHeader('content-type');
    return super.on(event, listener as (...args: unknown[]) => void);
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T): T {
    // A hook that puts something between, as compression does, gets nothing to put through it.
    if ((destination as unknown as Writable) !== this.reply.raw) return super.pipe(destination);
    this.forget();
    this.resume();
    this.write();
    return destination;
  }

  /** Takes Fastify's own listeners away, which wait for the end of the body: 3.8 kB for as long as the stream is open. */
  private forget(): void {
    const { raw } = this.reply;
    // All of them, and then the others anew: lists that have grown for Fastify's would keep their room.
    raw.removeAllListeners();
    for (const [event, listeners] of this.others) {
      for (const listener of listeners) raw.on(event, listener as () => void);
    }
  }
}

function listenersOf(response: RawResponse): Map<string | symbol, readonly unknown[]> {
  return new Map(response.eventNames().map((event) => [event, response.rawListeners(event)]));
}
