// The library's competitors, on node's http server without Nest.
import { once } from 'node:events';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createChannel, createSession } from 'better-sse';
import { Server as SocketIoServer } from 'socket.io';
import type { PriceChange } from './fanout-event.js';

/** Sends each event to all connected clients. */
export interface FanoutServer {
  readonly http: Server;
  /** The clients' address, and the used CPU in microseconds, if another process sends the events. */
  readonly outside?: { readonly port: number; readonly cpu: () => number };
  readonly post: (event: PriceChange) => void;
  /** Posts to a channel without clients; not every variant has channels. */
  readonly postElsewhere?: (event: PriceChange) => void;
}

/** Longer than any bench, because only events may be sent. */
const NEVER_MS = 3_600_000;

const COMMENT = Buffer.from(':\n');

/** Responses that stay open; to each of them `write` writes. */
export async function openResponses(write: (response: ServerResponse, frame: Buffer) => void): Promise<FanoutServer> {
  const open = new Set<ServerResponse>();
  const http = await listen((_request, response) => keepOpen(response, open));
  return {
    http,
    post: (event) => {
      const frame = frameOf(event);
      for (const response of open) write(response, frame);
    },
  };
}

/** Chunks made once and written past the response, one write for each event. */
export async function rawSockets(heartbeatMs: number): Promise<FanoutServer> {
  const open = new Set<ServerResponse>();
  if (heartbeatMs > 0) setInterval(() => writeChunk(open, COMMENT), heartbeatMs);
  const http = await listen((_request, response) => keepOpen(response, open));
  return { http, post: (event) => writeChunk(open, frameOf(event)) };
}

/** The same, with one write for all events of a turn of the event loop: the least possible work. */
export async function coalescer(): Promise<FanoutServer> {
  const open = new Set<ServerResponse>();
  const http = await listen((_request, response) => keepOpen(response, open));
  let frames: Buffer[] = [];
  const flush = () => {
    writeChunk(open, Buffer.concat(frames));
    frames = [];
  };
  return {
    http,
    post: (event) => {
      if (frames.push(frameOf(event)) === 1) setImmediate(flush);
    },
  };
}

export async function betterSse(): Promise<FanoutServer> {
  const channel = createChannel();
  const register: RequestListener = (request, response) =>
    void createSession(request, response, { keepAlive: null }).then((session) => channel.register(session));
  return { http: await listen(register), post: (event) => void channel.broadcast(event, 'PriceChange') };
}

/** To all connected clients; over Redis, to a room, which the adapters can tell from messages without local receivers. */
export async function socketIo(redis: string | undefined, adapter: 'classic' | 'sharded'): Promise<FanoutServer> {
  const http = await listen();
  const options = { transports: ['websocket' as const], pingInterval: NEVER_MS, serveClient: false };
  if (redis === undefined) {
    const io = new SocketIoServer(http, options);
    return { http, post: (event) => void io.emit('PriceChange', event) };
  }
  const { adapters } = await import('./fanout-redis.js');
  const io = new SocketIoServer(http, { ...options, adapter: adapters[adapter](redis) });
  io.on('connection', (socket) => void socket.join('prices'));
  return { http, post: (event) => void io.to('prices').emit('PriceChange', event) };
}

/** Writes the head of an event stream, and leaves it open. */
export function keepOpen(response: ServerResponse, open: Set<ServerResponse>): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform' });
  response.flushHeaders();
  open.add(response);
  response.on('close', () => open.delete(response));
}

function writeChunk(open: Iterable<ServerResponse>, frames: Buffer): void {
  const chunk = Buffer.concat([Buffer.from(`${frames.length.toString(16)}\r\n`), frames, Buffer.from('\r\n')]);
  for (const { socket } of open) socket!.write(chunk);
}

function frameOf(event: PriceChange): Buffer {
  return Buffer.from(`event: PriceChange\ndata: ${JSON.stringify(event)}\n\n`);
}

async function listen(listener?: RequestListener): Promise<Server> {
  const http = createServer(listener).listen(0, '127.0.0.1');
  await once(http, 'listening');
  return http;
}
