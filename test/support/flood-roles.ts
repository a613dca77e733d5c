import 'reflect-metadata';
import { once } from 'node:events';
import { connect, type Server, type Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { MessagingModule, MessagingService, defineChannel } from 'nestjs-messaging';
import { MessagingClient } from 'nestjs-messaging/client';
import { startApp, type AdapterName } from './apps.js';
import { Queue } from './queue.js';
import { randomFrom } from './random.js';

// Three processes: a server, good clients of it, and a flood of others. Each is told by its parent process what to do.

const News = defineChannel<{ n: number; at: number }>('flood/news', undefined, { clients: true });
const Bulk = defineChannel<string>('flood/bulk', undefined, { clients: true });

/** What each process can be asked for. */
export interface FloodCalls {
  readonly server: {
    /** Posts numbers, and with each so many bytes to those who do not read. Gives the number after the last one. */
    post(options: { count: number; everyMs: number; bulkBytes: number }): Promise<number>;
    state(): Promise<{ connections: number; maxTurnMs: number; rssMb: number }>;
  };
  readonly clients: {
    open(options: { url: string; count: number }): Promise<number>;
    /** Resolves when all have got all numbers before that one, or a while later. */
    report(options: { until: number }): Promise<GoodReport>;
  };
  readonly flood: {
    /** Asks for streams, and for much else, from a few addresses; keeps what it gets. */
    connect(options: {
      url: string;
      count: number;
      atOnce: number;
      addresses: number;
    }): Promise<Record<string, number>>;
    /** Opens streams, and does not read them. Gives how many it has. */
    stall(options: { url: string; count: number }): Promise<number>;
    /** How many of those that do not read the server has cut off. */
    cutOff(): Promise<number>;
  };
}
export type FloodRole = keyof FloodCalls;

/** How it went with the good clients. */
interface GoodReport {
  readonly missing: number;
  readonly repeated: number;
  /** How often one was not connected, after it was. */
  readonly cutOff: number;
  readonly gaps: number;
  readonly received: number;
  /** From the post to the listener. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface FloodServerOptions {
  readonly adapter: AdapterName;
  readonly limits?: object;
}

const PATIENCE_MS = 20_000;
const now = (): number => performance.timeOrigin + performance.now();

async function serve({
  adapter,
  limits = {},
}: FloodServerOptions): Promise<{ url: string; calls: FloodCalls['server'] }> {
  const module = MessagingModule.forRoot({ gateway: true, limits });
  const { app, url } = await startApp({ imports: [module] }, { adapter, trustProxy: '127.0.0.1' });
  const messaging = app.get(MessagingService);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const server = app.getHttpServer() as Server;
  let n = 0;
  return {
    url,
    calls: {
      async post({ count, everyMs, bulkBytes }) {
        const bulk = 'x'.repeat(bulkBytes);
        for (let posted = 0; posted < count; posted++) {
          await messaging.postMessage(News, { n: n++, at: now() });
          if (bulkBytes > 0) await messaging.postMessage(Bulk, bulk);
          await new Promise((resolve) => setTimeout(resolve, everyMs));
        }
        return n;
      },
      async state() {
        const maxTurnMs = delay.max / 1e6;
        delay.reset();
        const connections = await promisify(server.getConnections.bind(server))();
        return { connections, maxTurnMs, rssMb: process.memoryUsage.rss() / 1e6 };
      },
    },
  };
}

function beGood(): FloodCalls['clients'] {
  const counts = { repeated: 0, cutOff: 0, gaps: 0, received: 0 };
  const seen: Set<number>[] = [];
  const latencies: number[] = [];
  const got = new Queue<number>();
  return {
    async open({ url, count }) {
      for (let index = 0; index < count; index++) {
        const mine = new Set<number>();
        seen.push(mine);
        const headers = { 'x-forwarded-for': `198.51.100.${(index % 250) + 1}` };
        const client = new MessagingClient({ url: `${url}/messages`, headers });
        client.onGap(() => counts.gaps++);
        await client.subscribe(News, ({ n, at }) => {
          latencies.push(now() - at);
          if (mine.has(n)) counts.repeated++;
          mine.add(n);
          counts.received++;
          got.push(n);
        });
        client.onStatus(({ state }) => void (state === 'open' || counts.cutOff++));
      }
      return count;
    },
    async report({ until }) {
      const numbers = Array.from({ length: until }, (_, index) => index);
      const missingNow = (): number => seen.reduce((sum, mine) => sum + numbers.filter((n) => !mine.has(n)).length, 0);
      const end = now() + PATIENCE_MS;
      while (missingNow() > 0 && now() < end) await Promise.race([got.next(), new Promise((r) => setTimeout(r, 500))]);
      const sorted = latencies.splice(0).toSorted((a, b) => a - b);
      const at = (part: number): number => sorted[Math.floor(sorted.length * part)] ?? Number.NaN;
      return { ...counts, missing: missingNow(), p50Ms: at(0.5), p99Ms: at(0.99) };
    },
  };
}

function flood(): FloodCalls['flood'] {
  const random = randomFrom(20_261_126);
  const stalled = new Set<Socket>();
  return {
    async connect({ url, count, atOnce, addresses }) {
      const statuses: Record<string, number> = {};
      let next = 0;
      const work = async (): Promise<void> => {
        while (next < count) {
          const index = next++;
          const status = await ask(url, requestOf(index, addresses), random(10) < 7);
          statuses[status] = (statuses[status] ?? 0) + 1;
        }
      };
      await Promise.all(Array.from({ length: atOnce }, work));
      return statuses;
    },
    async stall({ url, count }) {
      await Promise.all(
        Array.from({ length: count }, async (_, index) => {
          const request = `GET /messages?channel=${Bulk.name} HTTP/1.1\r\nhost: a\r\n${fromAddress(`192.0.2.${(index % 200) + 1}`)}\r\n`;
          const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(request));
          socket.on('error', () => {});
          await new Promise<void>((resolve) => {
            socket.once('data', (head) => {
              socket.pause();
              if (head.toString('latin1').startsWith('HTTP/1.1 200')) stalled.add(socket);
              resolve();
            });
            socket.once('close', () => resolve());
          });
        }),
      );
      return stalled.size;
    },
    async cutOff() {
      const live = [...stalled].filter((socket) => !socket.closed);
      // Who does not read may not have been told.
      for (const socket of live) socket.resume();
      await Promise.race([Promise.all(live.map((socket) => once(socket, 'close'))), nothingFor(live, 1_000)]);
      return [...stalled].filter((socket) => socket.closed).length;
    },
  };

  function requestOf(index: number, addresses: number): string {
    const head = fromAddress(`203.0.113.${(index % addresses) + 1}`);
    const post = (path: string, body: object): string => {
      const text = JSON.stringify(body);
      return `POST ${path} HTTP/1.1\r\nhost: a\r\n${head}content-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
    };
    const requests = [
      () => `GET /messages?channel=${News.name} HTTP/1.1\r\nhost: a\r\n${head}\r\n`,
      () => post('/messages', { channels: [{ channel: News.name }] }),
      () => post('/messages', { channels: [{ channel: News.name, position: { epoch: `e${index}`, offset: index } }] }),
      () => post('/messages', { channels: Array.from({ length: 200 }, (_, n) => ({ channel: `none/${index}/${n}` })) }),
      () => post(`/messages/none-${index}/channels`, { subscribe: [{ channel: News.name }] }),
    ];
    return requests[random(requests.length)]!();
  }
}

/** Resolves when nothing has come on any socket for so long. */
async function nothingFor(sockets: readonly Socket[], ms: number): Promise<void> {
  const bytes = (): number => sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  for (let before = -1; before !== bytes();) {
    before = bytes();
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

const fromAddress = (address: string): string => `x-forwarded-for: ${address}\r\n`;

/** The status of what is answered; who stays keeps what it gets, and reads it. */
function ask(url: string, request: string, stays: boolean): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(request));
    socket.on('error', () => {});
    socket.once('close', () => resolve('none'));
    socket.once('data', (head) => {
      const status = head.toString('latin1', 9, 12);
      resolve(status);
      if (status === '200' && stays) socket.resume();
      else socket.destroy();
    });
  });
}

/** Does what the parent process asks for; the variable FLOOD has the role and the options of the server. */
export async function runFloodRole(): Promise<void> {
  const { role, options } = JSON.parse(process.env['FLOOD']!) as { role: FloodRole; options: FloodServerOptions };
  const server = role === 'server' ? await serve(options) : undefined;
  const calls = (server?.calls ?? (role === 'clients' ? beGood() : flood())) as unknown as Record<
    string,
    (options: unknown) => Promise<unknown>
  >;
  process.on('message', ({ id, call, with: given }: { id: number; call: string; with: unknown }) => {
    void calls[call]!(given).then((answer) => process.send!({ id, answer }));
  });
  process.once('disconnect', () => process.exit());
  process.send!({ url: server?.url ?? '' });
}
