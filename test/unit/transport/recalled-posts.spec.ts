import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { PublisherListener } from '../../../lib/transport/post-problem.js';
import { PendingBytes, RedisPublisher, type PublishLink } from '../../../lib/transport/redis-publisher.js';
import { RecalledPosts, isRecall } from '../../../lib/transport/recalled-posts.js';

const UNHEARD: PublisherListener = { refused: () => {}, unanswered: () => {}, answered: () => {} };

/** A link that breaks when the test says so. Redis answers nothing. */
class BreakingLink implements PublishLink {
  isUp = true;
  readonly published: (readonly [channel: string, text: string])[] = [];
  readonly publishing = {
    publish: (channel: string, text: string): Promise<unknown> => {
      this.published.push([channel, text]);
      return new Promise(() => undefined);
    },
  };

  overdue(): void {}

  isUnsent(): boolean {
    return false;
  }
}

function envelope(serial: number, channel = 'news'): string {
  return `{"metadata":{"v":1,"node":"a","at":1,"n":${serial}},"pattern":"${channel}","data":${serial}}`;
}

/** What is published over the next link. */
function broken(link: BreakingLink, publisher: RedisPublisher): BreakingLink['published'] {
  link.isUp = false;
  publisher.down();
  link.published.length = 0;
  link.isUp = true;
  publisher.up();
  return link.published;
}

/** Whether a server that hears these texts drops a payload. */
function isDropped(heard: BreakingLink['published'], text: string): boolean {
  const recalled = new RecalledPosts();
  for (const [, each] of heard) if (isRecall(each)) recalled.note(each);
  return recalled.has(text);
}

async function start(
  posts: readonly (readonly [channel: string, text: string])[],
  nameStart = 0,
  pending?: PendingBytes,
) {
  const link = new BreakingLink();
  const publisher = new RedisPublisher(60_000, UNHEARD, pending, nameStart);
  publisher.attach(link);
  for (const [channel, text] of posts) void publisher.publish(channel, text, true);
  await Promise.resolve();
  return { link, publisher };
}

afterEach(() => void jest.useRealTimers());

describe('Posts that were sent and not answered when the link broke', () => {
  test('are recalled over the next one, on each channel, before posts that waited', async () => {
    const { link, publisher } = await start([
      ['news', envelope(1)],
      ['other', envelope(2)],
      ['news', envelope(3)],
    ]);
    void publisher.publish('news', envelope(4));
    const published = broken(link, publisher);
    expect(published.map(([channel, text]) => [channel, isRecall(text)])).toEqual([
      ['news', true],
      ['other', true],
      ['news', false],
    ]);
    expect([1, 2, 3, 4].map((serial) => isDropped(published, envelope(serial)))).toEqual([true, true, true, false]);
    publisher.close();
  });

  test('are recalled even if nobody waits for them any more', async () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const { link, publisher } = await start([['news', envelope(1)]]);
    jest.advanceTimersByTime(60_000);
    expect(isDropped(broken(link, publisher), envelope(1))).toBe(true);
    publisher.close();
  });

  test('are recalled again if that link breaks too', async () => {
    const { link, publisher } = await start([['news', envelope(1)]]);
    broken(link, publisher);
    expect(isDropped(broken(link, publisher), envelope(1))).toBe(true);
    publisher.close();
  });

  test('are recalled again for a minute, less and less often, for servers that did not hear it', async () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const { link, publisher } = await start([
      ['news', envelope(1)],
      ['other', envelope(2)],
    ]);
    broken(link, publisher);
    const times: number[] = [];
    for (let ms = 0; ms < 100_000; ms += 10) {
      link.published.length = 0;
      jest.advanceTimersByTime(10);
      if (link.published.length === 0) continue;
      expect([1, 2].map((serial) => isDropped(link.published, envelope(serial)))).toEqual([true, true]);
      times.push(ms);
    }
    expect(times[0]).toBeLessThan(120);
    expect(times.length).toBeGreaterThan(50);
    expect(times.length).toBeLessThan(100);
    expect(times.at(-1)).toBeGreaterThan(55_000);
    expect(times.at(-1)).toBeLessThan(70_000);
    expect(broken(link, publisher)).toEqual([]);
    publisher.close();
  });

  test('are recalled for as long if the link comes back later than that', async () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const { link, publisher } = await start([['news', envelope(1)]]);
    link.isUp = false;
    publisher.down();
    jest.advanceTimersByTime(90_000);
    link.published.length = 0;
    link.isUp = true;
    publisher.up();
    jest.advanceTimersByTime(1_000);
    expect(link.published.length).toBeGreaterThan(5);
    jest.advanceTimersByTime(54_000);
    link.published.length = 0;
    jest.advanceTimersByTime(5_000);
    expect(isDropped(link.published, envelope(1))).toBe(true);
    publisher.close();
  });

  test('are recalled again although a timer is early by the clock', async () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask', 'performance'] });
    const { link, publisher } = await start([['news', envelope(1)]]);
    broken(link, publisher);
    link.published.length = 0;
    jest.advanceTimersByTime(350);
    expect(link.published).toHaveLength(3);
    publisher.close();
  });

  test('are recalled less often if they are many', async () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const { link, publisher } = await start(
      Array.from({ length: 20_000 }, (_, serial) => [`room/${serial % 100}`, envelope(serial)] as const),
    );
    broken(link, publisher);
    link.published.length = 0;
    jest.advanceTimersByTime(5_000);
    expect(link.published.length / 100).toBeGreaterThan(2);
    expect(link.published.length / 100).toBeLessThan(6);
    publisher.close();
  });

  test('are recalled as rarely if they are of many masters, which are lost together', async () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const pending = new PendingBytes();
    const masters = await Promise.all(
      Array.from({ length: 100 }, (_, master) =>
        start(
          Array.from({ length: 20 }, (__, serial) => [`room/${master}/${serial}`, envelope(serial)] as const),
          0,
          pending,
        ),
      ),
    );
    for (const { link } of masters) link.isUp = false;
    for (const { publisher } of masters) publisher.down();
    for (const { link } of masters) link.published.length = 0;
    for (const { link } of masters) link.isUp = true;
    for (const { publisher } of masters) publisher.up();
    jest.advanceTimersByTime(5_000);
    // At the beginning, and every 2.1 s.
    expect(masters.map(({ link }) => link.published.length / 20)).toEqual(masters.map(() => 3));
    jest.advanceTimersByTime(100_000);
    expect(pending.recalls).toEqual({ posts: 0, channels: 0 });
    for (const { publisher } of masters) publisher.close();
  });

  test('are recalled in parts if they are many, and up to a bound', async () => {
    const posts = Array.from({ length: 25_000 }, (_, serial) => ['news', envelope(serial)] as const);
    const { link, publisher } = await start(posts);
    const published = broken(link, publisher);
    expect(published).toHaveLength(20);
    expect(published.every(([, text]) => text.length < 32_768)).toBe(true);
    expect([0, 19_999, 20_000].map((serial) => isDropped(published, envelope(serial)))).toEqual([true, true, false]);
    publisher.close();
  });

  test('are not recalled if another text may be the same, or the channel is the library’s own', async () => {
    const { link, publisher } = await start(
      [
        ['app:|news', 'text'],
        ['app:|messaging:nodes', envelope(1)],
        ['app:|messaging:from/User/1/Update', envelope(2)],
      ],
      'app:|'.length,
    );
    expect(broken(link, publisher).map(([channel]) => channel)).toEqual(['app:|messaging:from/User/1/Update']);
    publisher.close();
  });
});

describe('A recall', () => {
  test('names a batch by its first messages', async () => {
    const batch = `\n${envelope(1)}\n${envelope(2)}`;
    const { link, publisher } = await start([['news', batch]]);
    const published = broken(link, publisher);
    expect(isDropped(published, batch)).toBe(true);
    expect(isDropped(published, envelope(1))).toBe(false);
    publisher.close();
  });

  test.each([
    ['no JSON', '\n{"recalled":["'],
    ['no texts', '\n{"recalled":[1]}'],
    ['long texts', `\n{"recalled":["${'x'.repeat(23)}"]}`],
    ['too many texts', `\n{"recalled":[${Array.from({ length: 1_001 }, () => '""').join()}]}`],
    ['a megabyte', `\n{"recalled":["${'x'.repeat(1_000_000)}"]}`],
  ])('of a neighbour with %s is refused', (_what, text) => {
    expect(isRecall(text)).toBe(true);
    expect(() => new RecalledPosts().note(text)).toThrow(/^(a recall|recalled|a digest) /);
  });

  test('of many posts is repeated at little cost for its receivers, who remember the last 20,000', async () => {
    const { link, publisher } = await start(
      Array.from({ length: 20_000 }, (_, serial) => ['news', envelope(serial)] as const),
    );
    const texts = broken(link, publisher).map(([, text]) => text);
    publisher.close();
    const recalled = new RecalledPosts();
    for (const text of texts) recalled.note(text);
    const before = process.cpuUsage();
    for (let times = 0; times < 20; times++) for (const text of texts) recalled.note(text);
    const { user } = process.cpuUsage(before);
    expect(user / 1_000).toBeLessThan(2_000);
    const others = Array.from({ length: 19_000 }, (_, number) => String(number));
    while (others.length > 0) recalled.note(`\n${JSON.stringify({ recalled: others.splice(0, 1_000) })}`);
    expect([19_000, 19_999].map((serial) => recalled.has(envelope(serial)))).toEqual([true, true]);
  });

  test('is forgotten after some minutes, when nothing can arrive any more', async () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const { link, publisher } = await start([['news', envelope(1)]]);
    const [[, text] = ['', '']] = broken(link, publisher);
    publisher.close();
    const recalled = new RecalledPosts();
    recalled.note(text);
    jest.advanceTimersByTime(299_000);
    expect(recalled.has(envelope(1))).toBe(true);
    jest.advanceTimersByTime(2_000);
    expect(recalled.has(envelope(1))).toBe(false);
  });
});
