import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { filter, firstValueFrom } from 'rxjs';
import type { RedisTransport } from '../../lib/transport/redis-transport.js';
import { Queue } from '../support/queue.js';
import { RedisNodes, reached, recordStatuses } from '../support/redis-nodes.js';
import type { RedisProbe } from '../support/redis-probe.js';

// Refused patterns are asked for again every 15 heartbeats.
const FAST = { heartbeatMs: 100 };

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

/** A user with these rules, a function that changes them, and a transport of this user that records everything. */
async function restricted(names: string[], rules: string[], protocol: 2 | 3 = 2) {
  const server = await nodes.server();
  const looker = nodes.probe(server);
  const allow = (...more: string[]): Promise<unknown> => looker.redis.acl('SETUSER', 'app', ...more);
  await allow('on', '>secret', '+@all', 'resetchannels', ...rules);
  const a = nodes.create({ url: `redis://app:secret@${server.address}`, protocol }, FAST);
  const told = new Queue<string>();
  const warnings = new Queue<string>();
  await a.start((payload, name, channel) => told.push(`${name} ${channel}: ${payload}`), {
    lost: (name, reason) => told.push(`${name} lost: ${reason}`),
    warned: (text) => warnings.push(text),
  });
  await reached(a, 'ready');
  const heard = Promise.all(names.map((name) => a.subscribe(name)));
  return { a, server, looker, allow, told, warnings, heard };
}

/** Waits until no server hears a channel that no template matches. */
async function nobodyHearsAll({ redis }: RedisProbe): Promise<void> {
  while ((await redis.publish('messaging:|stranger', 'x')) !== 0) await new Promise(setImmediate);
}

function readyWithoutError(transport: RedisTransport): Promise<unknown> {
  return firstValueFrom(transport.status.pipe(filter(({ state, error }) => state === 'ready' && error === undefined)));
}

const hearsAll = (pattern: string): unknown =>
  expect.stringMatching(
    new RegExp(
      `^Redis at .* refuses PSUBSCRIBE "messaging:\\|${pattern}": NOPERM.*; ` +
        `this server hears all of "messaging:\\*" instead, which costs more, until you allow "&messaging:\\|${pattern}" to the user of Redis$`,
    ),
  );

describe('A template whose pattern Redis refuses', () => {
  test('is heard by the pattern of the prefix: one warning for each pattern, and no error of the status', async () => {
    const { a, looker, told, warnings, heard } = await restricted(
      ['rooms/:id', 'rooms/:name', 'shops/:id'],
      ['&messaging:*'],
    );
    const statuses = recordStatuses(a);
    await heard;
    for (let outage = 0; outage < 2; outage++) {
      await looker.cutClients();
      await reached(a, 'waiting');
      await readyWithoutError(a);
    }
    await a.publish('rooms/1', 'end');
    await told.takeUntil((line) => line === 'rooms/:name rooms/1: end');
    expect((await warnings.take(2)).toSorted()).toEqual([hearsAll('rooms/\\*'), hearsAll('shops/\\*')]);
    expect(warnings.pending).toEqual([]);
    expect(statuses.filter((status) => status.includes('PSUBSCRIBE'))).toEqual([]);
  });

  test.each([2, 3] as const)(
    'is heard by its own once Redis allows it, with no message missing or doubled, with protocol %p',
    async (protocol) => {
      const { looker, server, allow, told, heard } = await restricted(
        ['rooms/:id', 'shops/:id'],
        ['&messaging:*'],
        protocol,
      );
      await heard;
      const [b] = await nodes.node(server.url);
      let count = 0;
      const end = new AbortController();
      const posting = (async () => {
        // Equal messages follow each other.
        for (; !end.signal.aborted; count++) {
          await Promise.all(['rooms/1', 'shops/1'].map((channel) => b.publish(channel, String(count >> 1))));
        }
      })();
      await allow('&messaging:|rooms/*');
      while (Number(await looker.redis.pubsub('NUMPAT')) !== 2) await new Promise(setImmediate);
      expect(await looker.redis.publish('messaging:|stranger', 'x')).toBe(1);
      await allow('&messaging:|shops/*');
      await nobodyHearsAll(looker);
      end.abort();
      await posting;
      await b.publish('rooms/1', 'end');
      await b.publish('shops/1', 'end');
      const lines = [...(await told.takeUntil((line) => line === 'shops/:id shops/1: end'))];
      for (const [name, channel] of [
        ['rooms/:id', 'rooms/1'],
        ['shops/:id', 'shops/1'],
      ] as const) {
        const own = lines.filter((line) => line.startsWith(name) && !line.endsWith('end'));
        expect(own).toEqual(Array.from({ length: count }, (_, index) => `${name} ${channel}: ${index >> 1}`));
      }
      expect(await looker.redis.pubsub('NUMPAT')).toBe(2);
    },
  );

  test('is heard by its own after Redis took back all permissions and gave them back, and the status is without error', async () => {
    const { a, looker, allow, told, heard, warnings } = await restricted(['rooms/:id'], ['allchannels']);
    await heard;
    await allow('resetchannels');
    await reached(a, 'waiting', 'refuses PSUBSCRIBE "messaging:*"');
    await allow('allchannels');
    await readyWithoutError(a);
    await nobodyHearsAll(looker);
    expect(await looker.redis.pubsub('NUMPAT')).toBe(1);
    await looker.redis.publish('messaging:|rooms/1', 'heard');
    expect(await told.take(2)).toEqual(['rooms/:id lost: broker', 'rooms/:id rooms/1: heard']);
    expect(warnings.pending.filter((text) => !text.includes('hears all of'))).toEqual([]);
    await readyWithoutError(a);
  });

  test('is heard by its own once Redis allows that, even if Redis refuses the pattern of the prefix too', async () => {
    const { a, looker, allow, told, warnings, heard } = await restricted(['rooms/:id'], ['&messaging:|*']);
    await reached(a, 'waiting', 'refuses PSUBSCRIBE "messaging:*"');
    await allow('&messaging:|rooms/*');
    await heard;
    await readyWithoutError(a);
    await looker.redis.publish('messaging:|rooms/1', 'heard');
    expect(await told.next()).toBe('rooms/:id rooms/1: heard');
    expect(warnings.pending).toEqual([]);
  });

  test('is asked for again over a new connection', async () => {
    const { a, looker, allow, told, heard } = await restricted(['rooms/:id'], ['&messaging:*']);
    await heard;
    await looker.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await allow('resetchannels', '&messaging:|rooms/*', '&messaging:|messaging:*');
    await reached(a, 'waiting');
    await readyWithoutError(a);
    await looker.redis.publish('messaging:|rooms/1', 'heard');
    expect(await told.take(2)).toEqual(['rooms/:id lost: broker', 'rooms/:id rooms/1: heard']);
  });

  test('leaves no pattern behind when its listeners leave', async () => {
    const { a, looker, allow, heard } = await restricted(['rooms/:id'], ['&messaging:*']);
    await heard;
    await allow('&messaging:|rooms/*');
    a.unsubscribe('rooms/:id');
    while (Number(await looker.redis.pubsub('NUMPAT')) !== 0) await new Promise(setImmediate);
    expect((await firstValueFrom(a.status)).error).toBeUndefined();
  });
});

test('A beat that Redis allows again takes its error from the status, over the same connection', async () => {
  const { a, allow, heard } = await restricted(['news'], ['&messaging:|news']);
  await heard;
  await reached(a, 'ready', 'cannot tell whether it hears anything');
  await allow('&messaging:*');
  await expect(readyWithoutError(a)).resolves.toBeDefined();
});
