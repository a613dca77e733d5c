// The memory of channels with history in Redis: of a message and of a channel, with messages posted one by one,
// and ten at a time.
import { Redis as Client } from 'ioredis';
import type { BenchOptions } from './run.js';
import { compareFigures } from './support/compare-figures.js';
import type { HistoryCalls } from './support/history-server.js';
import { PinnedProcess } from './support/pinned-process.js';
import { Redis } from './support/redis.js';

const CHANNELS = 1_000;
const MESSAGES = 100;

export const processes = 1;

/** In bytes. */
interface Kept {
  /** Of all of Redis' memory; the first message of a channel counts as part of the channel. */
  readonly channel: number;
  readonly message: number;
  /** The keys of one channel. */
  readonly stream: number;
  readonly hash: number;
}

export async function run({ rounds = 1 }: BenchOptions): Promise<void> {
  await compareFigures({
    figures: {
      channel: { title: 'A channel with one message: memory of Redis', unit: 'bytes' },
      message: {
        title: `Each further message, of ${MESSAGES} in each of ${CHANNELS} channels: memory of Redis`,
        unit: 'bytes',
      },
      stream: { title: `The stream of a channel with ${MESSAGES} messages, by MEMORY USAGE`, unit: 'bytes' },
      hash: { title: 'Its hash, by MEMORY USAGE', unit: 'bytes' },
    },
    cases: [
      { name: 'posted one by one', atOnce: 1 },
      { name: '10 at a time', atOnce: 10 },
    ],
    rounds,
    measure: ({ atOnce }) => measure(atOnce),
  });
}

async function measure(atOnce: number): Promise<Kept> {
  const redis = await Redis.start();
  const client = new Client(redis.url);
  const server = await PinnedProcess.start<HistoryCalls>('history-server.js', undefined, [redis.url]);
  // Everything outside of channels.
  await server.call('post', { from: CHANNELS, channels: 1, each: 1, atOnce: 1 });
  const before = await usedMemory(client);
  await server.call('post', { from: 0, channels: CHANNELS, each: 1, atOnce: 1 });
  const begun = await usedMemory(client);
  await server.call('post', { from: 0, channels: CHANNELS, each: MESSAGES - 1, atOnce });
  const ended = await usedMemory(client);
  const sizes = await sizesByType(client);
  await server.stop();
  client.disconnect();
  await redis.stop();
  return {
    channel: (begun - before) / CHANNELS,
    message: (ended - begun) / CHANNELS / (MESSAGES - 1),
    stream: sizes.stream / CHANNELS,
    hash: sizes.hash / CHANNELS,
  };
}

async function usedMemory(client: Client): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1]);
}

/** All keys of a type together. */
async function sizesByType(client: Client): Promise<{ stream: number; hash: number }> {
  const sizes = { stream: 0, hash: 0 };
  for (const type of ['stream', 'hash'] as const) {
    for await (const keys of client.scanStream({ type, count: 1_000 }) as AsyncIterable<string[]>) {
      const used = await Promise.all(keys.map((key) => client.memory('USAGE', key, 'SAMPLES', 0)));
      sizes[type] += used.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
    }
  }
  return sizes;
}
