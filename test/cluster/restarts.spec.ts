import { setTimeout as wait } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { MessagingClient } from 'nestjs-messaging/client';
import { ADAPTER_NAMES } from '../support/apps.js';
import { Numbers } from '../support/client-messages.js';
import { ServerProcess } from '../support/client-server-process.js';
import { ClientServer } from '../support/client-servers.js';
import { Nginx } from '../support/nginx.js';
import { Queue } from '../support/queue.js';
import { RedisServer, freePort } from '../support/redis-server.js';
import { SseClient, type ReceivedEvent } from '../support/sse-client.js';

const CHANNEL = Numbers.for({ number: 1 });
const CLIENTS = 12;

/** A reader of the channel that outlives its servers. */
abstract class Reader implements AsyncDisposable {
  readonly numbers = new Queue<number>();
  readonly gaps: unknown[] = [];
  /** How often a server has sent it away. */
  drains = 0;

  abstract open(url: string): Promise<void>;

  abstract [Symbol.asyncDispose](): Promise<void>;
}

class OurClient extends Reader {
  private client: MessagingClient | undefined;

  async open(url: string): Promise<void> {
    this.client = new MessagingClient({ url: `${url}/messages` });
    this.client.onGap((gap) => this.gaps.push(gap));
    this.client.onStatus(({ reason }) => reason === 'drain' && this.drains++);
    await this.client.subscribe(CHANNEL, this.numbers.push);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client?.close();
  }
}

/** Acts like an EventSource of a browser. */
class NativeClient extends Reader {
  private stream: SseClient | undefined;
  private lastEventId: string | undefined;
  private isClosed = false;
  private reading: Promise<void> | undefined;

  async open(url: string): Promise<void> {
    const path = `${url}/messages?channel=${encodeURIComponent(CHANNEL.name)}`;
    const stream = await this.connect(path);
    this.reading = this.read(path, stream);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isClosed = true;
    this.stream?.abort();
    await this.reading;
  }

  private async connect(path: string): Promise<SseClient> {
    const headers = this.lastEventId === undefined ? {} : { 'last-event-id': this.lastEventId };
    return (this.stream = await SseClient.connect(path, { headers }));
  }

  private async read(path: string, first: SseClient): Promise<void> {
    for (let stream = first; ; stream = await this.connect(path)) {
      for (let event = await eventOf(stream); event !== undefined; event = await eventOf(stream)) this.take(event);
      if (!this.isClosed) await wait(stream.retryMs);
      if (this.isClosed) return;
    }
  }

  private take({ event, id, data }: ReceivedEvent): void {
    this.lastEventId = id ?? this.lastEventId;
    if (event === 'messaging:drain') this.drains++;
    else if (event === 'messaging:gap') this.gaps.push(data);
    else if (!event.startsWith('messaging:')) this.numbers.push(JSON.parse(data) as number);
  }
}

/** Ends with its servers. */
class Readers implements AsyncDisposable {
  readonly all: Reader[] = [];

  constructor(private readonly servers: readonly ServerProcess[]) {}

  async [Symbol.asyncDispose](): Promise<void> {
    for (const reader of this.all) await reader[Symbol.asyncDispose]();
    for (const server of this.servers) await server.kill();
  }
}

/** The next event of a stream; nothing if the stream has ended. */
function eventOf({ events, ended }: SseClient): Promise<ReceivedEvent | void> {
  return Promise.race([events.next(), ended]);
}

test.each(ADAPTER_NAMES)(
  'servers on %s behind nginx that restart in turn under load lose nothing, and report no gap',
  async (adapter) => {
    await using redis = await RedisServer.start();
    const ports = [await freePort(), await freePort()];
    const start = (port: number) => ServerProcess.start({ redis: redis.url, adapter, port, leaveMs: 5_000 });
    const servers = await Promise.all(ports.map(start));
    await using nginx = await Nginx.start(ports);
    await using poster = await ClientServer.start({ redis: redis.url });
    await using readers = new Readers(servers);
    const { all } = readers;
    for (let count = 0; count < CLIENTS; count++) {
      const reader = count % 4 === 0 ? new NativeClient() : new OurClient();
      await reader.open(nginx.url);
      all.push(reader);
    }
    let posted = 0;
    const stop = new AbortController();
    const posting = (async () => {
      while (!stop.signal.aborted) {
        expect(await poster.messaging.postMessage(CHANNEL, posted, { scope: 'auto' })).toBe(true);
        posted++;
        await wait(2);
      }
    })();
    const got = all.map((): number[] => []);
    const readUntil = (last: number) =>
      Promise.all(
        all.map(async ({ numbers }, index) => {
          do got[index]!.push(await numbers.next());
          while (got[index]!.at(-1)! < last);
        }),
      );
    await readUntil(posted + 10);

    for (const [index, port] of ports.entries()) {
      await servers[index]!.end();
      await readUntil(posted + 10);
      servers[index] = await start(port);
    }
    stop.abort();
    await posting;
    await readUntil(posted - 1);

    for (const [index, { gaps, drains }] of all.entries()) {
      const [first] = got[index]!;
      expect(got[index]).toEqual(Array.from({ length: posted - first! }, (_, offset) => first! + offset));
      expect(gaps).toEqual([]);
      expect(drains).toBeGreaterThanOrEqual(1);
    }
  },
  60_000,
);
