import { Controller, Inject, Injectable, Scope } from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  ConfigurationError,
  defineChannel,
  MessagingModule,
  MessagingService,
  OnGap,
  SessionMessages,
  Sse,
  type Gap,
  type ListenerFailure,
  type ListenOptions,
  type MessagingOptions,
} from 'nestjs-messaging';
import { filter, firstValueFrom, from, merge, skip, switchMap } from 'rxjs';
import { Hub } from '../../lib/core/hub.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

const Prices = defineChannel<number>('prices');
const Rooms = defineChannel<string, 'rooms/:roomId'>('rooms/:roomId');

let told = new Queue<unknown>();
const ends: (() => PromiseLike<void>)[] = [];

beforeEach(() => {
  told = new Queue();
});

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function start(options: MessagingOptions, providers: unknown[] = [], controllers: unknown[] = []) {
  const running = await startApp({
    imports: [MessagingModule.forRoot(options)],
    providers: providers as never[],
    controllers: controllers as never[],
  });
  ends.push(() => running[Symbol.asyncDispose]());
  return { ...running, messaging: running.app.get(MessagingService), hub: running.app.get(Hub, { strict: false }) };
}

/** Resolves once a link that breaks after this call is back. */
const backAfter = (hub: Hub) =>
  firstValueFrom(
    hub.status.pipe(
      skip(1),
      filter(({ state }) => state === 'ready'),
    ),
  );

/** Two applications connected by a broker that a test may cut. */
async function startPair(options: MessagingOptions = {}, providers: unknown[] = [], controllers: unknown[] = []) {
  const broker = new MemoryBroker();
  const poster = await start({ transport: new MemoryTransport(broker) });
  const receiver = await start({ ...options, transport: new MemoryTransport(broker) }, providers, controllers);
  const lose = async () => {
    const isBack = backAfter(receiver.hub);
    broker.cut();
    broker.heal();
    await isBack;
  };
  return { ...receiver, poster: poster.messaging, lose };
}

describe('When the connection to Redis that hears messages is killed', () => {
  test('listeners, streams, loops and @OnGap methods get one gap for it, between the messages before and after', async () => {
    const redis = await RedisServer.start();
    ends.push(() => redis.stop());
    @Injectable()
    class Loader {
      @OnGap(Prices)
      reload({ channel, reason }: Gap) {
        told.push(`method: gap of ${channel}, ${reason}`);
      }
    }
    const poster = await start({ redis: redis.url });
    const receiver = await start({ redis: redis.url }, [Loader]);
    const { messaging, hub } = receiver;
    const options = (label: string): ListenOptions => ({
      onGap: ({ channel, reason }) => told.push(`${label}: gap of ${channel}, ${reason}`),
    });
    const listener = messaging.addListener(Prices, (price) => told.push(`listener: ${price}`), options('listener'));
    const template = messaging.addListener(Rooms, (text) => told.push(`template: ${text}`), options('template'));
    messaging.createStream(Prices, options('stream')).subscribe((price) => told.push(`stream: ${price}`));
    const loop = (async () => {
      for await (const price of messaging.iterate(Prices, options('loop'))) told.push(`loop: ${price}`);
    })();
    await Promise.all([listener.ready, template.ready]);

    const post = async (price: number) => {
      await poster.messaging.postMessage(Prices, price, { global: true });
      await poster.messaging.postMessage(Rooms.for({ roomId: '1' }), String(price), { global: true });
    };
    await post(1);
    expect((await told.take(4)).map(String).toSorted()).toEqual(['listener: 1', 'loop: 1', 'stream: 1', 'template: 1']);

    using probe = new RedisProbe(redis.url);
    const isBack = backAfter(hub);
    await probe.redis.client('KILL', 'TYPE', 'PUBSUB');
    await isBack;
    await post(2);
    const lines = (await told.take(9)) as string[];
    expect(lines.filter((line) => line.startsWith('method'))).toEqual(['method: gap of prices, broker']);
    for (const label of ['listener', 'stream', 'loop']) {
      const own = lines.filter((line) => line.startsWith(label));
      expect(own).toEqual([`${label}: gap of prices, broker`, `${label}: 2`]);
    }
    expect(lines.filter((line) => line.startsWith('template'))).toEqual([
      'template: gap of rooms/:roomId, broker',
      'template: 2',
    ]);
    await post(3);
    expect((await told.take(4)).map(String).toSorted()).toEqual(['listener: 3', 'loop: 3', 'stream: 3', 'template: 3']);
    expect(told.pending).toEqual([]);
    await receiver[Symbol.asyncDispose]();
    await loop;
  });
});

test.each([
  ['is wiped', false, 'epoch'],
  ['comes back empty from an outage', true, 'broker'],
])('When Redis %s, listeners and @OnGap methods of a template get one gap for it', async (_what, isAway, reason) => {
  const Halls = defineChannel<number, 'halls/:id'>('halls/:id', undefined, {
    history: { maxMessages: 100, ttlMs: 60_000 },
  });
  @Injectable()
  class Loader {
    @OnGap(Halls)
    reload(gap: Gap) {
      told.push(`method: ${gap.channel} ${gap.reason}`);
    }
  }
  const redis = await RedisServer.start();
  ends.push(() => redis.stop());
  const poster = await start({ redis: redis.url });
  const { messaging, hub } = await start({ redis: redis.url }, [Loader]);
  const onGap = (gap: Gap) => told.push(`template: ${gap.channel} ${gap.reason}`);
  await messaging.addListener(Halls, (message, { channel }) => told.push(`${channel} ${message}`), { onGap }).ready;
  const post = async (message: number) => {
    for (const id of ['1', '2', '3']) {
      expect(await poster.messaging.postMessage(Halls.for({ id }), message)).toBe(true);
    }
  };
  await post(1);
  await told.take(3);
  using probe = new RedisProbe(redis.url);
  const isBack = isAway ? backAfter(hub) : undefined;
  await probe.redis.flushall();
  if (isAway) await probe.redis.client('KILL', 'TYPE', 'PUBSUB');
  await isBack;
  await hub.whenWhole(Halls.name, 5_000);
  await post(2);
  const lines = (await told.take(5)).map(String);
  expect(lines.slice(0, 2).toSorted()).toEqual([`method: halls/:id ${reason}`, `template: halls/:id ${reason}`]);
  await post(3);
  expect(lines.slice(2).toSorted()).toEqual(['halls/1 2', 'halls/2 2', 'halls/3 2']);
  expect((await told.take(3)).map(String).toSorted()).toEqual(['halls/1 3', 'halls/2 3', 'halls/3 3']);
});

describe('An event stream', () => {
  const noted: ListenOptions = { onGap: ({ channel }) => told.push(`noted ${channel}`) };

  @Controller()
  class Streams {
    constructor(
      private readonly messages: SessionMessages,
      private readonly messaging: MessagingService,
    ) {}

    @Sse('whole')
    whole() {
      return this.messages.createStream(Prices);
    }

    @Sse('filtered')
    filtered() {
      // Heard, but not sent to the page.
      this.messages.addListener('side', () => {});
      return this.messages.createStream(Prices).pipe(filter((price) => price > 1));
    }

    @Sse('merged')
    merged() {
      const dear = this.messages.createStream(Prices).pipe(filter((price) => price > 100));
      return merge(dear, this.messages.createStream(Prices).pipe(filter((price) => price < 10)));
    }

    @Sse('of-the-application')
    ofTheApplication() {
      const dear = this.messaging.createStream(Prices).pipe(filter((price) => price > 100));
      return merge(dear, this.messaging.createStream(Prices).pipe(filter((price) => price < 10)));
    }

    @Sse('generator')
    async *generator() {
      for await (const price of this.messaging.iterate(Prices)) if (price > 1) yield price;
    }

    @Sse('late')
    late() {
      return from(Promise.resolve()).pipe(switchMap(() => this.messages.createStream(Prices)));
    }

    @Sse('loop')
    loop() {
      return this.messages.iterate(Prices, noted);
    }

    @Sse('noted')
    noted() {
      return this.messages.createStream(Prices, noted);
    }
  }

  test.each(['whole', 'filtered', 'merged', 'of-the-application', 'generator', 'late', 'loop', 'noted'])(
    'of /%s gets messaging:gap once for a loss, between the messages from before and after',
    async (route) => {
      const { url, poster, messaging, lose } = await startPair({}, [], [Streams]);
      const client = await SseClient.connect(`${url}/${route}`);
      ends.push(() => client[Symbol.asyncDispose]());
      await messaging.addListener(Prices, () => {}).ready;
      await poster.postMessage(Prices, 2, { global: true });
      expect(await client.next()).toEqual(['message', 2]);
      await lose();
      await poster.postMessage(Prices, 3, { global: true });
      expect(await client.next()).toEqual(['messaging:gap', { channel: 'prices', reason: 'broker' }]);
      expect(await client.next()).toEqual(['message', 3]);
      expect(client.events.pending).toEqual([]);
      expect(told.pending).toEqual(route === 'loop' || route === 'noted' ? ['noted prices'] : []);
    },
  );
});

describe('An @OnGap method', () => {
  test('of a controller, and of each class that inherits it, is called once for each channel that it names', async () => {
    class Base {
      @OnGap('news')
      @OnGap(Rooms)
      lost({ channel }: Gap) {
        told.push(`${this.constructor.name} ${channel}`);
      }
    }
    @Controller()
    class Derived extends Base {}
    const { lose } = await startPair({}, [], [Derived]);
    await lose();
    expect((await told.take(2)).map(String).toSorted()).toEqual(['Derived news', 'Derived rooms/:roomId']);
    await lose();
    expect((await told.take(2)).map(String).toSorted()).toEqual(['Derived news', 'Derived rooms/:roomId']);
    expect(told.pending).toEqual([]);
  });

  test.each(['request', 'async-local'] as const)(
    'of a request-scoped class has an instance and a session for each gap, with scope %s',
    async (scope) => {
      @Injectable({ scope: Scope.REQUEST })
      class Scoped {
        constructor(
          private readonly messages: SessionMessages,
          @Inject(REQUEST) private readonly request: { gap: Gap },
        ) {}
        @OnGap('news')
        async lost(gap: Gap) {
          const { session } = this.messages;
          await Promise.resolve();
          told.push([this.request.gap === gap, session]);
        }
      }
      const { lose } = await startPair({ scope } as MessagingOptions, [Scoped]);
      const next = async () => {
        await lose();
        return (await told.next()) as [boolean, { readonly closed: boolean }];
      };
      // One after another: losses without a message in between may be reported as one.
      const [first, second] = [await next(), await next()];
      expect([first[0], first[1].closed, first[1] === second[1]]).toEqual([true, true, false]);
    },
  );

  test('that fails is logged with its name and channel and given to onListenerError, and the others are called', async () => {
    @Injectable()
    class Broken {
      @OnGap('news')
      async lost() {
        await Promise.resolve();
        throw new Error('no database');
      }
    }
    @Injectable()
    class Sound {
      @OnGap('news')
      lost() {
        told.push('sound');
      }
    }
    const failures = new Queue<unknown>();
    const onListenerError = (error: unknown, failure: ListenerFailure) => failures.push([error, failure]);
    const { lose, logger } = await startPair({ onListenerError }, [Broken, Sound]);
    await lose();
    expect(await told.next()).toBe('sound');
    const gap = { channel: 'news', reason: 'broker' };
    const failure = { channel: 'news', listener: 'Broken.lost', gap };
    expect(await failures.next()).toEqual([new Error('no database'), failure]);
    expect(logger.problems.filter((line) => line.includes('no database'))).toEqual([
      expect.stringContaining('onGap of Broken.lost failed on channel "news": '),
    ]);
  });

  test('is refused on anything but a method of instances', () => {
    class Wrong {
      static lost() {}
      field = 1;
    }
    const decorate = OnGap('news') as (...args: unknown[]) => void;
    expect(() => decorate(Wrong, 'lost', Object.getOwnPropertyDescriptor(Wrong, 'lost'))).toThrow(ConfigurationError);
    expect(() => decorate(Wrong.prototype, 'field', undefined)).toThrow('@OnGap on Wrong.field: it decorates methods');
  });

  test('of a channel that is defined twice keeps the application from starting', async () => {
    const One = defineChannel('gaps/twice', undefined, { clients: true });
    const Other = defineChannel('gaps/twice', undefined, { clients: false });
    @Injectable()
    class Twice {
      @OnGap(One)
      one() {}
      @OnGap(Other)
      other() {}
    }
    await expect(startPair({}, [Twice])).rejects.toThrow('"gaps/twice" is defined twice');
  });
});

describe('addListener', () => {
  test('refuses unknown options', async () => {
    const { messaging } = await start({});
    expect(() => messaging.addListener('a', () => {}, { onGaps: () => {} } as never)).toThrow(
      'addListener: unknown option "onGaps"; the options are: onGap',
    );
  });
});
