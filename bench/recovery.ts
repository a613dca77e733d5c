// All clients of a server lose their connections at once and come back at once, to that server or to another one, while
// 60,000 messages are kept for them: how long it takes until all are recovered, and for how long the event loop of the server
// that they come to is held up at most.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { BenchOptions } from './run.js';
import { compare } from './support/compare.js';
import type { RecoveryCommand, RecoveryReport } from './support/recovery-server.js';
import { Redis } from './support/redis.js';
import { report } from './support/table.js';

const ROUNDS = 3;
const CLIENTS = 5_000;
const CHANNELS = 1_000;
const MESSAGES = 60_000;

interface Position {
  readonly epoch: string;
  readonly offset: number;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const redis = await Redis.start();
  const servers: ChildProcess[] = [];
  const turns = new Map<string, number[]>();
  try {
    const [former, other] = [await startServer(redis, servers), await startServer(redis, servers)];
    const cases = [
      { name: 'the same server', to: former },
      { name: 'another server', to: other },
    ];
    for (const { name } of cases) turns.set(name, []);
    await compare({
      title: `${CLIENTS} clients back at once, until the last one is recovered`,
      unit: 'ms',
      cases,
      rounds,
      measure: async ({ name, to }) => {
        const { tookMs, longestTurnMs } = await storm(former, to);
        turns.get(name)!.push(longestTurnMs);
        return tookMs;
      },
    });
    await report({
      title: 'The longest turn of the event loop meanwhile',
      unit: 'ms',
      rows: [...turns].map(([name, samples]) => ({ name, samples })),
    });
  } finally {
    for (const server of servers) server.disconnect();
    await Promise.all(servers.map((server) => once(server, 'exit')));
    await redis.stop();
  }
}

interface Server {
  readonly port: number;
  ask(command: RecoveryCommand): Promise<RecoveryReport>;
}

async function startServer(redis: Redis, servers: ChildProcess[]): Promise<Server> {
  const server = fork(new URL('support/recovery-server.js', import.meta.url), [redis.url]);
  servers.push(server);
  const answer = async (): Promise<RecoveryReport> => ((await once(server, 'message')) as [RecoveryReport])[0];
  const { port } = await answer();
  return {
    port: port!,
    ask: (command) => {
      server.send(command);
      return answer();
    },
  };
}

async function storm(from: Server, to: Server): Promise<{ tookMs: number; longestTurnMs: number }> {
  const clients: Client[] = [];
  // In portions: it is not this that is measured.
  for (let opened = 0; opened < CLIENTS; opened += 100) {
    const some = Array.from({ length: 100 }, (_, index) => new Client(opened + index));
    await Promise.all(some.map((client) => client.open(from.port)));
    clients.push(...some);
  }
  for (const client of clients) client.cut();
  await from.ask({ kind: 'post', channels: CHANNELS, each: MESSAGES / CHANNELS });
  await to.ask({ kind: 'watch' });
  const start = performance.now();
  await Promise.all(clients.map((client) => client.open(to.port)));
  const tookMs = performance.now() - start;
  const { longestTurnMs } = await to.ask({ kind: 'report' });
  const lost = clients.filter(({ missed }) => missed !== MESSAGES / CHANNELS);
  if (lost.length > 0) throw new Error(`${lost.length} clients got ${lost[0]!.missed} messages`);
  for (const client of clients) client.cut();
  return { tookMs, longestTurnMs: longestTurnMs! };
}

/** A client of one channel. */
class Client {
  /** How many messages came before it was ready. */
  missed = 0;
  private position: Position | undefined;
  private socket: Socket | undefined;
  private readonly channel: string;

  constructor(number: number) {
    this.channel = `bench/${number % CHANNELS}`;
  }

  /** Resolves when the stream is ready. */
  open(port: number): Promise<void> {
    const { channel, position } = this;
    const body = JSON.stringify({ channels: [{ channel, ...(position && { position }) }] });
    return new Promise((resolve, reject) => {
      let text = '';
      this.socket = connect(port, '127.0.0.1', () => {
        const head = `POST /messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\naccept: text/event-stream\r\ncontent-length: ${body.length}\r\n\r\n`;
        this.socket!.write(head + body);
      })
        .setEncoding('utf8')
        .on('error', reject)
        .on('data', (chunk: string) => {
          text += chunk;
          const ready = /event: messaging:ready\ndata: (.*)\n\n/.exec(text);
          if (ready === null) return;
          const [answer] = (JSON.parse(ready[1]!) as { channels: { position: Position }[] }).channels;
          this.position = answer!.position;
          this.missed = text.split('\nid: ').length - 1;
          text = '';
          resolve();
        });
    });
  }

  cut(): void {
    this.socket?.destroy();
  }
}
