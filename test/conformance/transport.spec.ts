import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AssertionError } from 'node:assert';
import { transportConformance } from 'nestjs-messaging/testing';
import type { Transport, TransportReceiver } from '../../lib/core/transport.js';
import { Deferred } from '../../lib/core/deferred.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { Cluster } from 'ioredis';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';

const BOUNDS = { maxMessages: 1_000, ttlMs: 60_000 };

interface Broker {
  connect(publishTimeoutMs?: number): Transport;
  cut(): Promise<void>;
  heal(): Promise<void>;
  close(): Promise<void>;
}

class Redis implements Broker {
  private constructor(private readonly server: RedisServer) {}

  static async start(): Promise<Redis> {
    return new Redis(await RedisServer.start());
  }

  connect(publishTimeoutMs = 300): Transport {
    return new RedisTransport({ url: this.server.url, publishTimeoutMs });
  }

  cut(): Promise<void> {
    return this.server.kill();
  }

  heal(): Promise<void> {
    return this.server.restart();
  }

  close(): Promise<void> {
    return this.server.kill();
  }
}

/** A Cluster of three masters, each of which carries its own channels. */
class Sharded implements Broker {
  private constructor(private readonly cluster: RedisCluster) {}

  static async start(): Promise<Sharded> {
    return new Sharded(await RedisCluster.start(3));
  }

  connect(publishTimeoutMs = 300): Transport {
    const { nodes } = this.cluster;
    return new RedisTransport({
      client: () => new Cluster(nodes, { lazyConnect: true }),
      sharded: true,
      publishTimeoutMs,
    });
  }

  async cut(): Promise<void> {
    await Promise.all(this.cluster.servers.map((server) => server.kill()));
  }

  async heal(): Promise<void> {
    await Promise.all(this.cluster.servers.map((server) => server.restart()));
    await this.cluster.isWhole();
  }

  close(): Promise<void> {
    return this.cluster[Symbol.asyncDispose]();
  }
}

class Memory implements Broker {
  private readonly broker = new MemoryBroker();

  connect(): Transport {
    return new MemoryTransport(this.broker);
  }

  async cut(): Promise<void> {
    this.broker.cut();
  }

  async heal(): Promise<void> {
    this.broker.heal();
  }

  async close(): Promise<void> {}
}

const brokers: [string, () => Promise<Broker>][] = [
  ['memory', async () => new Memory()],
  ['Redis', () => Redis.start()],
  ['a sharded Redis Cluster', () => Sharded.start()],
];

describe.each(brokers)('The transport over %s', (_, start) => {
  let broker: Broker;

  beforeAll(async () => {
    broker = await start();
  });
  afterAll(() => broker.close());

  test.each(transportConformance(() => broker))('$name', async ({ run }) => {
    await expect(run()).resolves.toBeUndefined();
  });

  test('sends no post over a new link before the work that comes first is done, except to one history', async () => {
    const [poster, listener] = [broker.connect(20_000), broker.connect()];
    const heard = new Queue<string>();
    await listener.start((payload) => heard.push(payload));
    const subscribed = () => Promise.all(['plain', 'kept', 'first'].map((name) => listener.subscribe(name)));
    await subscribed();
    let before = new Deferred();
    const append = (name: string, payload: string) => poster.history!.append(name, { payload }, BOUNDS);
    const post = () => [poster.publish('plain', 'plain'), append('kept', 'kept')];
    const waits = async (posts = post()) => {
      await subscribed();
      expect(await append('first', 'first')).toMatchObject({ kind: 'appended' });
      expect([await heard.next(), heard.pending]).toEqual(['first', []]);
      before.resolve();
      expect(await Promise.all(posts)).toMatchObject([true, { kind: 'appended' }]);
      expect((await heard.take(2)).toSorted()).toEqual(['kept', 'plain']);
    };

    await poster.start(() => {}, { beforePosts: { except: 'first', run: () => before.promise } });
    await waits();

    before = new Deferred();
    await broker.cut();
    await broker.heal();
    await waits();
    await Promise.all([poster.close(), listener.close()]);
  }, 30_000);
});

/** The guarantees that a transport breaks; all failures are `AssertionError`s. */
async function failures(connect: (broker: MemoryBroker) => Transport, testMs = 500): Promise<string[]> {
  const failed: string[] = [];
  const start = () => {
    const broker = new MemoryBroker();
    return { connect: () => connect(broker), cut: () => broker.cut(), heal: () => broker.heal() };
  };
  for (const { name, run } of transportConformance(start, { testMs })) {
    await run().catch((error: unknown) => {
      if (!(error instanceof AssertionError)) throw error;
      failed.push(name);
    });
  }
  return failed;
}

describe('The suite for transports rejects a transport', () => {
  test('that delivers inside publish', async () => {
    class Hasty extends MemoryTransport {
      override publish(channel: string, payload: string): Promise<boolean> {
        this.deliver(channel, payload);
        return super.publish(channel, payload);
      }
    }
    expect(await failures((broker) => new Hasty(broker))).toContain('A transport never delivers inside publish');
  });

  test('that reports no losses', async () => {
    class Silent extends MemoryTransport {
      override start(receiver: TransportReceiver): Promise<void> {
        return super.start(receiver);
      }
    }
    expect(await failures((broker) => new Silent(broker))).toEqual([
      'A transport reports a lost broker, accepts nothing meanwhile, and works as before once the broker is back',
      'A transport reports one loss for each name registered when the broker was lost, and for no other',
      'A transport reports a loss between the payloads before and after it',
    ]);
  });

  test('that fails, or never answers', async () => {
    class Failing extends MemoryTransport {
      override start(): Promise<void> {
        return Promise.reject(new Error('no start'));
      }
    }
    class Mute extends MemoryTransport {
      override subscribe(): Promise<void> {
        return new Promise(() => {});
      }
    }
    const name = 'A transport never delivers inside publish';
    expect(await failures((broker) => new Failing(broker), 100)).toContain(name);
    expect(await failures((broker) => new Mute(broker), 20)).toContain(name);
  });
});
