// One of two nodes in processes of their own: forked with a variant, a role and the URL of a Redis, or of a NATS server, a poster posts as many
// messages as it is told, and a listener says when it has got that many. Both tell how many microseconds of CPU it took.
import 'reflect-metadata';
import { connect } from '@nats-io/transport-node';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { defineChannel, MessagingModule, MessagingService, Serializable } from 'nestjs-messaging';

/** The content of each message: about 225 bytes as JSON. */
@Serializable({ name: 'bench-event' })
class Event {
  readonly id: number;
  readonly room = 'rooms/42';
  readonly author = { id: 7, name: 'Ada Lovelace', admin: false };
  readonly text = 'Hello, how are you today? I am fine, thank you, and so is everybody else around here.';
  readonly tags = ['a', 'b'];
  readonly at = 1_732_270_000_000;

  constructor(id: number) {
    this.id = id;
  }
}

/** One end of a connection between two nodes. */
interface End {
  post(event: Event): Promise<unknown>;
  listen(listener: (event: Event) => void): Promise<unknown>;
}

const Events = defineChannel('bench/events', Event);
const KeptEvents = defineChannel('bench/kept', Event, { history: { maxMessages: 1_000, ttlMs: 60_000 } });

const VARIANTS: Record<string, (url: string) => Promise<End>> = {
  'naive ioredis': async (url) => {
    const redis = new Redis(url);
    return {
      post: (event) => redis.publish('naive/events', JSON.stringify(event)),
      listen: async (listener) => {
        redis.on('message', (_channel: string, text: string) => listener(JSON.parse(text) as Event));
        await redis.subscribe('naive/events');
      },
    };
  },
  'a script a post': async (url) => {
    const redis = new Redis(url);
    const script = `
      local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, offset .. '-0', 'p', ARGV[1])
      redis.call('PUBLISH', ARGV[2], offset .. '|' .. ARGV[1])
      return offset`;
    const sha = (await redis.script('LOAD', script)) as string;
    return {
      post: (event) => redis.evalsha(sha, 2, 'naive:h', 'naive:s', JSON.stringify(event), 'naive/kept'),
      listen: async (listener) => {
        redis.on('message', (_channel: string, text: string) => {
          listener(JSON.parse(text.slice(text.indexOf('|') + 1)) as Event);
        });
        await redis.subscribe('naive/kept');
      },
    };
  },
  'nats.js': async (servers) => {
    const nats = await connect({ servers });
    let flushed: Promise<void> | undefined;
    return {
      post: (event) => {
        nats.publish('naive.events', JSON.stringify(event));
        // The server answers a flush, but no post, so all of one turn wait for the same.
        return (flushed ??= nats.flush().finally(() => (flushed = undefined)));
      },
      listen: async (listener) => {
        nats.subscribe('naive.events', { callback: (_error, message) => listener(message.json<Event>()) });
        await nats.flush();
      },
    };
  },
  messaging: (url) => messaging(url, Events),
  'with history': (url) => messaging(url, KeptEvents),
};

async function messaging(url: string, channel: typeof Events | typeof KeptEvents): Promise<End> {
  @Module({ imports: [MessagingModule.forRoot({ redis: url })] })
  class AppModule {}
  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
  const service = app.get(MessagingService);
  return {
    post: (event) => service.postMessage(channel, event, { global: true }),
    listen: (listener) => service.addListener(channel, listener).ready,
  };
}

/** The requests to a node; `inFlight`: how many posts may wait for Redis' answer. */
export interface NodeTask {
  readonly count: number;
  readonly inFlight: number;
}

const [variant, role, url] = process.argv.slice(2) as [string, 'poster' | 'listener', string];
const end = await VARIANTS[variant]!(url);
let received = 0;
let expected = Infinity;
let start = process.cpuUsage();

const tell = (): void => {
  const { user, system } = process.cpuUsage(start);
  process.send!(user + system);
};

if (role === 'listener') {
  await end.listen(() => {
    if (++received === expected) tell();
  });
}

process.on('message', ({ count, inFlight }: NodeTask) => {
  start = process.cpuUsage();
  received = 0;
  expected = count;
  if (role === 'poster') void postAll(count, inFlight).then(tell);
  else process.send!('ready');
});
process.on('disconnect', () => process.exit());
process.send!('started');

async function postAll(count: number, inFlight: number): Promise<void> {
  for (let posted = 0; posted < count; posted += inFlight) {
    await Promise.all(
      Array.from({ length: Math.min(inFlight, count - posted) }, (_, index) => end.post(new Event(posted + index))),
    );
  }
}
