import { afterEach, describe, expect, test } from '@jest/globals';
import {
  ChannelDeniedError,
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  MessagingClient,
  MessagingError,
  shareAcrossTabs,
  type ClientHeaders,
  type MessagingClientOptions,
} from 'nestjs-messaging/client';
import { Queue } from '../../support/queue.js';
import type { Exchange } from '../../support/scripted-gateway.js';
import type { FakeClock } from './fake-clock.js';
import { Harness, soon } from './harness.js';

const trap = () => {
  throw new Error('trap');
};

describe('A stream that breaks off', () => {
  test('in the middle of a message is opened again with all wanted channels, and the partial message is not delivered', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { messages, stream } = await harness.subscribed();
    const second = client.subscribe('more', () => {});
    await gateway.answered();
    await second;
    stream.message({ channel: 'news', data: 'whole' });
    stream.write('data: {"channel":"news","at":1,"data":"ha');
    expect(await messages.next()).toBe('whole');
    stream.cut();
    expect(await harness.reaches('waiting')).toEqual({
      state: 'waiting',
      error: expect.any(ConnectionLostError) as unknown as MessagingError,
      retryAt: clock.now() + 250,
    });
    let isThere = false;
    const late = client.subscribe('news', () => {}).then(() => (isThere = true));
    const third = client.subscribe('third', () => {});
    await soon();
    expect([isThere, client.status.state]).toEqual([false, 'waiting']);
    clock.advance(250);
    expect(client.status.state).toBe('connecting');
    const again = await gateway.streams.next();
    expect(again.wanted).toEqual(['news', 'more', 'third']);
    again.ready({ connection: 'c2' });
    await Promise.all([late, third]);
    again.message({ channel: 'news', data: 'again' });
    expect(await messages.next()).toBe('again');
    const fourth = client.subscribe('fourth', () => {});
    expect((await gateway.answered()).request).toMatchObject({
      path: '/messages/c2/channels',
      body: { subscribe: [{ channel: 'fourth' }], unsubscribe: [] },
    });
    await fourth;
  });

  test('is opened after a time that doubles up to 5 s, 80 times, then up to half a minute, and starts over after a success', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    clock.chance = 0.999;
    const subscribed = client.subscribe('news', () => {});
    const waits: number[] = [];
    for (let index = 0; index < 82; index++) {
      const status = [503, 500, 429, 408, 502][index % 5]!;
      (await gateway.streams.next()).refuse(status);
      const { error, retryAt } = await harness.reaches('waiting');
      expect(error!.message).toContain(String(status));
      waits.push(Math.round((retryAt! - clock.now()) / 0.999));
      clock.advance(retryAt! - clock.now());
    }
    expect(waits.slice(0, 5)).toEqual([500, 1_000, 2_000, 4_000, 5_000]);
    expect(new Set(waits.slice(5, 80))).toEqual(new Set([5_000]));
    expect(waits.slice(80)).toEqual([30_000, 30_000]);
    const stream = await gateway.ready();
    await subscribed;
    stream.message({ channel: 'news' });
    stream.end();
    expect((await harness.reaches('waiting')).retryAt! - clock.now()).toBeCloseTo(499.5);
  });

  test('is opened within 1.5 s after an attempt that nobody answered, within 5 s after one that a server refused', async () => {
    let isAway = true;
    await using harness = await Harness.start({
      fetch: (...request) => (isAway ? Promise.reject(new TypeError('no network')) : fetch(...request)),
    });
    const { client, clock, gateway } = harness;
    clock.chance = 0.999;
    client.subscribe('news', () => {}).catch(() => {});
    const waits: number[] = [];
    for (let index = 0; index < 80; index++) {
      const { retryAt } = await harness.reaches('waiting');
      waits.push(Math.round((retryAt! - clock.now()) / 0.999));
      if (index === 78) isAway = false;
      clock.advance(retryAt! - clock.now());
      if (!isAway) (await gateway.streams.next()).refuse(503);
    }
    expect(waits.slice(0, 3)).toEqual([500, 1_000, 1_500]);
    expect(new Set(waits.slice(3, 79))).toEqual(new Set([1_500]));
    expect(waits[79]).toBe(5_000);
  });

  test('right after it was ready is opened again after growing waits', async () => {
    await using harness = await Harness.start();
    const { clock, gateway } = harness;
    harness.client.subscribe('news', () => {}).catch(() => {});
    for (const wait of [250, 500, 1_000, 2_000, 2_500]) {
      (await gateway.ready()).end();
      const { retryAt } = await harness.reaches('waiting');
      expect(retryAt! - clock.now()).toBe(wait);
      clock.advance(wait);
    }
  });

  test.each([
    ['has brought a message', (stream: Exchange) => stream.message({ channel: 'news' })],
    ['was ready for ten seconds', (_: Exchange, harness: Harness) => harness.clock.advance(10_000)],
  ])('but %s counts as a success', async (_, act) => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const messages = new Queue<unknown>();
    client.subscribe('news', messages.push).catch(() => {});
    for (let failure = 0; failure < 3; failure++) {
      (await gateway.streams.next()).refuse(503);
      clock.advance((await harness.reaches('waiting')).retryAt! - clock.now());
    }
    const stream = await gateway.ready();
    await harness.reaches('open');
    act(stream, harness);
    await harness.settled(stream);
    stream.end();
    expect((await harness.reaches('waiting')).retryAt! - clock.now()).toBe(250);
  });

  test('does not count as a success before it was ready', async () => {
    await using harness = await Harness.start();
    const { clock, gateway } = harness;
    harness.client.subscribe('news', () => {}).catch(() => {});
    for (const wait of [250, 500]) {
      const stream = await gateway.streams.next();
      stream.open();
      stream.write(':\n\n');
      stream.end();
      const { retryAt } = await harness.reaches('waiting');
      expect(retryAt! - clock.now()).toBe(wait);
      clock.advance(wait);
    }
  });

  test('is not opened again if nothing is wanted', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream, subscription } = await harness.subscribed();
    await subscription.unsubscribe();
    await gateway.answered();
    stream.end();
    expect(await harness.reaches('idle')).toEqual({ state: 'idle' });
    expect(clock.pending).toBe(0);
    const again = client.subscribe('news', () => {});
    const second = await gateway.ready();
    await again;
    second.cut();
    await harness.reaches('waiting');
    await client.unsubscribe('news');
    await harness.reaches('idle');
    expect(clock.pending).toBe(0);
  });

  test('is tried again if no server was reached', async () => {
    const harness = await Harness.start();
    const { url } = harness.gateway;
    await harness.gateway[Symbol.asyncDispose]();
    const pending = harness.client.subscribe('news', () => {});
    expect((await harness.reaches('waiting')).error).toMatchObject({
      code: 'CONNECTION_LOST',
      retryable: true,
      message: expect.stringContaining(url),
      cause: expect.objectContaining({ name: 'TypeError' }),
    });
    harness.client.close();
    await expect(pending).rejects.toThrow(ConnectionClosedError);
    expect(harness.clock.pending).toBe(0);
  });

  test('may come back without a channel, whose listeners learn of it', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { messages, stream, subscription } = await harness.subscribed();
    const other = client.subscribe('other', () => {});
    await gateway.answered();
    await other;
    const loop = client.createStream('news')[Symbol.asyncIterator]();
    const waiting = loop.next();
    stream.cut();
    await harness.reaches('waiting');
    clock.advance(250);
    const again = await gateway.ready({ denied: { news: 'CHANNEL_DENIED' } });
    expect(await harness.errors.next()).toEqual({
      error: expect.any(ChannelDeniedError),
      context: { channel: 'news' },
    });
    await expect(waiting).rejects.toThrow(ChannelDeniedError);
    expect([subscription.closed, (await other).closed]).toEqual([true, false]);
    again.message({ channel: 'news' });
    await harness.settled(again);
    expect(messages.pending).toEqual([]);
    again.cut();
    await harness.reaches('waiting');
    clock.advance(250);
    expect((await gateway.streams.next()).wanted).toEqual(['other']);
    expect(harness.errors.pending).toEqual([]);
  });
});

test('A channel that is refused after a reconnect may make the application close the client', async () => {
  await using harness = await Harness.start();
  const { client, clock, gateway } = harness;
  const { stream } = await harness.subscribed();
  client.createStream('news').subscribe({ error: () => client.close() });
  stream.cut();
  await harness.reaches('waiting');
  clock.advance(250);
  const again = await gateway.ready({ denied: { news: 'CHANNEL_DENIED' } });
  await again.closed;
  await harness.reaches('closed');
  await soon();
  expect([client.status.state, harness.statuses.pending, clock.pending]).toEqual(['closed', [], 0]);
});

describe('An answer', () => {
  test.each([
    [204, 'refused'],
    [400, 'misconfigured'],
    [404, 'misconfigured'],
    [405, 'misconfigured'],
    [415, 'misconfigured'],
  ])('of %i closes the client as %s', async (code, reason) => {
    await using harness = await Harness.start();
    const pending = harness.client.subscribe('news', () => {});
    const loop = harness.client.createStream('news')[Symbol.asyncIterator]();
    const waiting = loop.next();
    (await harness.gateway.streams.next()).refuse(code);
    await expect(pending).rejects.toThrow(ConnectionClosedError);
    await expect(waiting).rejects.toThrow(ConnectionClosedError);
    const { status } = harness.client;
    expect(status).toEqual({ state: 'closed', reason, error: expect.any(ConnectionClosedError) });
    expect(status.error!.message).toContain(harness.gateway.url);
    expect(status.error!.message).toContain(String(code));
    expect(status.error!.message.includes('option "url"')).toBe(reason === 'misconfigured');
    await expect(harness.client.subscribe('news', () => {})).rejects.toBe(status.error);
    await expect(harness.client.createStream('news')[Symbol.asyncIterator]().next()).rejects.toBe(status.error);
    expect(harness.clock.pending).toBe(0);
    harness.client.close();
    expect(harness.client.status).toBe(status);
  });

  test.each([[401], [403]])('of %i closes the client if renewed headers change nothing', async (code) => {
    let token = 0;
    await using harness = await Harness.start({ headers: () => ({ 'x-token': String(++token) }) });
    const { client, clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    stream.cut();
    const refused = await nextAttempt(harness);
    refused.refuse(code);
    const renewed = await nextAttempt(harness);
    expect(renewed.request.headers['x-token']).toBe('3');
    renewed.ready();
    await harness.reaches('open');
    renewed.cut();
    (await nextAttempt(harness)).refuse(code);
    const { error, retryAt } = await harness.reaches('waiting');
    expect(error).toBeInstanceOf(ConnectionLostError);
    clock.advance(retryAt! - clock.now());
    (await gateway.streams.next()).refuse(code);
    const status = await harness.reaches('closed');
    expect(status).toEqual({ state: 'closed', reason: 'refused', error: expect.any(ConnectionClosedError) });
    expect(status.error!.message).toContain(String(code));
    await expect(client.subscribe('news', () => {})).rejects.toBe(status.error);
    expect(clock.pending).toBe(0);
  });

  test.each([
    ['{"statusCode":401,"reason":"revoked"}', 'revoked'],
    ['{"statusCode":401,"reason":"expired"}', 'refused'],
    ['null', 'refused'],
    ['Unauthorized', 'refused'],
  ])('of 401 with the body %s closes the client as %s', async (body, reason) => {
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    stream.cut();
    (await nextAttempt(harness)).refuse(401, body);
    (await nextAttempt(harness)).refuse(401, body);
    expect(await harness.reaches('closed')).toMatchObject({ reason });
  });

  test.each([[301], [400], [404], [405], [409], [410]])(
    'of %i closes no client that was let in before: the client tries again',
    async (code) => {
      await using harness = await Harness.start();
      const { stream, subscription } = await harness.subscribed();
      stream.cut();
      (await nextAttempt(harness)).refuse(code);
      // Nothing about the option "url": there was a gateway.
      const { error } = await harness.statuses.until((status) => status.error?.message.includes('status') ?? false);
      expect(error!.message).toBe(`The server at ${harness.gateway.url} answered with status ${code}`);
      harness.clock.advance(1_000);
      (await harness.gateway.streams.next()).refuse(code);
      (await nextAttempt(harness)).ready();
      await harness.reaches('open');
      expect(subscription.closed).toBe(false);
    },
  );

  test.each([
    ['of another type', 'text/html', '<html>', /messages answered with text\/html/],
    ['with a ready event that is no JSON', undefined, 'event: messaging:ready\ndata: {\n\n', /JSON/],
    ['with an invalid ready event', undefined, 'event: messaging:ready\ndata: {"channels":[]}\n\n', /name/],
    [
      'without a word on a channel',
      undefined,
      'event: messaging:ready\ndata: {"connection":"c","channels":[]}\n\n',
      /did not answer for channel "news"/,
    ],
  ])('%s counts as a failed attempt', async (_, type, bytes, text) => {
    await using harness = await Harness.start();
    const pending = harness.client.subscribe('news', () => {});
    const stream = await harness.gateway.streams.next();
    stream.open(type);
    stream.write(bytes);
    const { error } = await harness.reaches('waiting');
    expect(error).toBeInstanceOf(ConnectionLostError);
    expect(error!.message).toMatch(text);
    await stream.closed;
    harness.clock.advance(30_000);
    await harness.gateway.ready();
    await pending;
  });

  test('with an event of more than 16 Mi characters is cut off', async () => {
    await using harness = await Harness.start();
    const { messages, stream } = await harness.subscribed();
    const mebibyte = 'x'.repeat(1024 * 1024);
    stream.write('data: {"channel":"news","at":1,"data":"');
    for (let sent = 0; sent < 15; sent++) stream.write(mebibyte);
    stream.write('"}\n\n');
    expect(String(await messages.next())).toHaveLength(15 * mebibyte.length);
    stream.write('data: {"channel":"news","at":1,"data":"');
    for (let sent = 0; sent < 17; sent++) stream.write(mebibyte);
    await stream.closed;
    expect((await harness.reaches('waiting')).error!.message).toMatch(/more than 16777216 characters/);
    expect(messages.pending).toEqual([]);
  });
});

describe('The type of an answer', () => {
  test.each([['text/event-stream'], ['TEXT/Event-Stream'], ['text/event-stream ; charset=utf-8']])(
    '%s is an event stream',
    async (type) => {
      await using harness = await Harness.start();
      const subscribed = harness.client.subscribe('news', () => {});
      const stream = await harness.gateway.streams.next();
      stream.open(type);
      stream.ready();
      expect((await subscribed).closed).toBe(false);
    },
  );

  test.each([['text/event-streaming'], ['text/event-stream-x; a=b'], ['application/json'], ['x; text/event-stream']])(
    '%s is not one',
    async (type) => {
      await using harness = await Harness.start();
      harness.client.subscribe('news', () => {}).catch(() => {});
      (await harness.gateway.streams.next()).open(type);
      expect((await harness.reaches('waiting')).error!.message).toContain(`answered with ${type}`);
    },
  );
});

/** The wait after one refusal, and the error. */
async function waitAfter(harness: Harness, status: number, headers: Record<string, string>) {
  (await harness.gateway.streams.next()).refuse(status, '', headers);
  const { error, retryAt } = await harness.reaches('waiting');
  return { error, wait: retryAt! - harness.clock.now() };
}

describe('A server that sends a time to come back, by Retry-After,', () => {
  test.each([
    ['seconds', { 'retry-after': '20' }, 20_000],
    ['a date', { 'retry-after': 'Wed, 25 Nov 2026 12:00:40 GMT', date: 'Wed, 25 Nov 2026 12:00:10 GMT' }, 30_000],
    ['more than five minutes', { 'retry-after': '86400' }, 300_000],
    ['a date far away', { 'retry-after': 'Wed, 25 Nov 2099 12:00:40 GMT' }, 300_000],
    ['nothing', {}, 0],
    ['no seconds', { 'retry-after': '0' }, 0],
    [
      'a date that has passed',
      { 'retry-after': 'Wed, 25 Nov 2026 12:00:10 GMT', date: 'Wed, 25 Nov 2026 12:00:40 GMT' },
      0,
    ],
    ['nonsense', { 'retry-after': 'soon' }, 0],
  ])('is obeyed, with the back-off on top: %s', async (_, headers: Record<string, string>, asked) => {
    await using harness = await Harness.start();
    harness.client.subscribe('news', () => {}).catch(() => {});
    for (const [status, jitter] of [
      [503, 250],
      [429, 500],
    ] as const) {
      const { error, wait } = await waitAfter(harness, status, headers);
      expect(wait).toBe(asked + jitter);
      expect((error as ConnectionLostError).retryAfterMs).toBe(asked || undefined);
      harness.clock.advance(wait - 1);
      expect(harness.client.status.state).toBe('waiting');
      harness.clock.advance(1);
      expect(harness.client.status.state).toBe('connecting');
    }
  });

  test('is obeyed with a date, without a date of the server, by the local time', async () => {
    await using harness = await Harness.start();
    harness.client.subscribe('news', () => {}).catch(() => {});
    const date = new Date(harness.clock.now() + 60_000);
    date.setMilliseconds(0);
    const headers = { 'retry-after': date.toUTCString(), date: '' };
    const { wait } = await waitAfter(harness, 503, headers);
    expect(wait).toBe(date.getTime() - harness.clock.now() + 250);
  });

  test('is obeyed even if no channel is wanted in between', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    client.subscribe('news', () => {}).catch(() => {});
    await waitAfter(harness, 503, { 'retry-after': '20' });
    for (let round = 1; round <= 3; round++) {
      await client.unsubscribe('news');
      await harness.reaches('idle');
      expect(clock.pending).toBe(0);
      clock.advance(5_000);
      client.subscribe('news', () => {}).catch(() => {});
      const { retryAt } = await harness.reaches('waiting');
      expect(retryAt! - clock.now()).toBe(20_000 - round * 5_000);
      client.retryNow();
    }
    clock.advance(4_999);
    expect(client.status.state).toBe('waiting');
    clock.advance(1);
    await gateway.ready();
    await harness.reaches('open');
  });

  test('is obeyed by a change of subscriptions as well', async () => {
    await using harness = await Harness.start();
    await harness.subscribed();
    await harness.reaches('open');
    const more = harness.client.subscribe('more', () => {});
    (await harness.gateway.changes.next()).refuse(503, '', { 'retry-after': '5' });
    const { retryAt } = await harness.reaches('open');
    expect(retryAt! - harness.clock.now()).toBe(5_250);
    harness.clock.advance(5_250);
    await harness.gateway.answered();
    await more;
  });
});

describe('A change', () => {
  test('to a stream that the server does not know any more leads to another stream', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    const more = client.subscribe('more', () => {});
    (await gateway.changes.next()).refuse(404);
    await stream.closed;
    expect((await harness.reaches('waiting')).error).toMatchObject({
      code: 'CONNECTION_LOST',
      message: 'The server does not know the stream',
    });
    clock.advance(250);
    const again = await gateway.streams.next();
    expect(again.wanted).toEqual(['news', 'more']);
    again.ready();
    await more;
  });

  test.each([[503], [429], ['no JSON'], ['no answer'], ['cut']])(
    'that fails (%s) is repeated with back-off',
    async (how) => {
      await using harness = await Harness.start();
      const { client, clock, gateway } = harness;
      const { subscription } = await harness.subscribed();
      await harness.reaches('open');
      const more = client.subscribe('more', () => {});
      await subscription.unsubscribe();
      for (const wait of [250, 500]) {
        const change = await gateway.changes.next();
        if (typeof how === 'number') change.refuse(how);
        else if (how === 'cut') change.cut();
        else change.refuse(200, how === 'no JSON' ? '{' : '{"channels":[]}');
        const { error, retryAt } = await harness.reaches('open');
        expect(error).toBeInstanceOf(ConnectionLostError);
        expect(retryAt! - clock.now()).toBe(wait);
        if (wait === 250) client.subscribe('third', () => {}).catch(() => {});
        await soon();
        clock.advance(wait - 1);
        await soon();
        expect(gateway.changes.pending).toEqual([]);
        clock.advance(1);
      }
      const change = await gateway.answered();
      expect(change.request.body).toEqual({
        subscribe: [{ channel: 'more' }, { channel: 'third' }],
        unsubscribe: ['news'],
      });
      await more;
      expect(await harness.reaches('open')).toEqual({ state: 'open' });
      client.subscribe('fourth', () => {}).catch(() => {});
      (await gateway.changes.next()).refuse(503);
      expect(await harness.reaches('open')).toHaveProperty('retryAt', clock.now() + 250);
      clock.advance(250);
      await gateway.answered();
      await harness.reaches('open');
      const fifth = client.subscribe('fifth', () => {});
      await gateway.answered();
      await fifth;
      expect(harness.statuses.pending).toEqual([]);
    },
  );

  test('with an unknown outcome is undone if nobody wants it any more', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    await harness.subscribed();
    await harness.reaches('open');
    const more = client.subscribe('more', () => {});
    (await gateway.changes.next()).cut();
    await harness.reaches('open');
    await client.unsubscribe('more');
    await more;
    clock.advance(250);
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: ['more'] });
  });

  test('that waits to be repeated is forgotten with the client', async () => {
    await using harness = await Harness.start();
    await harness.subscribed();
    await harness.reaches('open');
    harness.client.subscribe('more', () => {}).catch(() => {});
    (await harness.gateway.changes.next()).refuse(503);
    await harness.reaches('open');
    harness.client.close();
    expect(harness.clock.pending).toBe(0);
  });

  test('of a stream that has ended meanwhile has no effect, whatever the answer', async () => {
    const answered = new Queue<unknown>();
    await using harness = await Harness.start({
      fetch: async (input, init) => {
        if (init?.headers instanceof Headers && init.headers.get('accept') !== 'application/json')
          return fetch(input, init);
        // As if the answer had been on its way already when the request was aborted.
        const text = await (await fetch(input, { ...init, signal: null })).text();
        answered.push(text);
        return new Response(text);
      },
    });
    const { stream } = await harness.subscribed();
    const more = harness.client.subscribe('more', () => {});
    const change = await harness.gateway.changes.next();
    stream.cut();
    await harness.reaches('waiting');
    change.answer({ more: 'CHANNEL_DENIED' });
    await answered.next();
    await soon();
    harness.clock.advance(250);
    await harness.gateway.ready();
    expect((await more).closed).toBe(false);
  });

  test('may be refused to an application that then closes the client', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { stream } = await harness.subscribed();
    await harness.reaches('open');
    client.createStream('secret').subscribe({ error: () => client.close() });
    (await gateway.changes.next()).refuse(503);
    await harness.reaches('open');
    harness.clock.advance(250);
    await gateway.answered({ secret: 'CHANNEL_DENIED' });
    await harness.reaches('closed');
    await stream.closed;
    await soon();
    expect([client.status.state, harness.statuses.pending]).toEqual(['closed', []]);
  });

  test.each([[400], [401], [403], [405]])('that is answered with %i leaves the stream as it is', async (code) => {
    let token = 0;
    await using harness = await Harness.start({ headers: () => ({ 'x-token': String(++token) }) });
    const { client, clock, gateway } = harness;
    const { messages, stream } = await harness.subscribed();
    await harness.reaches('open');
    const more = client.subscribe('more', () => {});
    (await gateway.changes.next()).refuse(code);
    const { error, retryAt } = await harness.reaches('open');
    expect(error).toMatchObject({ code: 'CONNECTION_LOST', message: expect.stringContaining(String(code)) });
    stream.message({ channel: 'news', data: 'still here' });
    expect(await messages.next()).toBe('still here');
    clock.advance(retryAt! - clock.now());
    expect((await gateway.answered()).request.headers['x-token']).toBe('3');
    await more;
    expect(await harness.reaches('open')).toEqual({ state: 'open' });
  });

  test('that is not answered within half a minute leads to another stream', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    const more = client.subscribe('more', () => {});
    const change = await gateway.changes.next();
    for (let waited = 0; waited < 29; waited++) {
      clock.advance(1_000);
      stream.write(':\n');
      await harness.settled(stream);
    }
    expect(client.status.state).toBe('open');
    clock.advance(1_000);
    expect(client.status.state).toBe('waiting');
    await Promise.all([change.closed, stream.closed]);
    clock.advance(250);
    await gateway.ready();
    await more;
  });
});

describe('An attempt that fails by a thrown value', () => {
  const everyTrap = new Proxy({}, { get: () => trap });
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const thrown: [string, unknown, string][] = [
    ['is a proxy whose traps throw', new Proxy({}, everyTrap), 'a value that cannot be read'],
    ['is a revoked proxy', revoked.proxy, 'a value that cannot be read'],
    [
      'has a getter "message" that throws',
      Object.defineProperty(new Error(), 'message', { get: trap }),
      'an instance of Error',
    ],
    ['has a symbol as its message', Object.assign(new Error(), { message: Symbol('m') }), 'an instance of Error'],
    ['cannot become a text', { toString: trap, [Symbol.toPrimitive]: trap }, 'an object'],
    ['is nothing', undefined, 'undefined'],
  ];
  const places: [string, (fail: () => void) => Partial<MessagingClientOptions>][] = [
    ['headers', (fail) => ({ headers: () => (fail(), {}) })],
    ['fetch', (fail) => ({ fetch: async (...args) => (fail(), fetch(...args)) })],
  ];

  test.each(
    thrown.flatMap(([what, value, text]) => places.map(([place, options]) => ({ what, value, text, place, options }))),
  )('is repeated if the value $what, from $place', async ({ value, text, options }) => {
    let count = 0;
    const fail = () => {
      if (++count === 1) throw value;
    };
    await using harness = await Harness.start(options(fail));
    const subscribed = harness.client.subscribe('news', () => {});
    const { error } = await harness.reaches('waiting');
    expect(error!.code).toBe('CONNECTION_LOST');
    expect(error!.message).toBe(`The connection to ${harness.gateway.url} failed: ${text}`);
    // Not by a matcher, which would look into it.
    expect(Object.is(error!.cause, value)).toBe(true);
    harness.clock.advance(250);
    await harness.gateway.ready();
    await subscribed;
  });

  test('is repeated if the values are thrown at a change', async () => {
    const values = thrown.slice(0, 4);
    let count = 0;
    const headers = () => {
      const value = count++ > 0 && values[count - 2];
      if (value) throw value[1];
      return {};
    };
    await using harness = await Harness.start({ headers });
    await harness.subscribed();
    const second = harness.client.subscribe('more', () => {});
    for (const [, , text] of values) {
      const { error, retryAt } = await harness.statuses.until(({ error: failure }) => failure !== undefined);
      expect(error!.message).toBe(`The connection to ${harness.gateway.url} failed: ${text}`);
      harness.clock.advance(retryAt! - harness.clock.now());
    }
    await harness.gateway.answered();
    await second;
  });
});

describe('Headers', () => {
  test('are requested again for each request, and an error there counts as a failed attempt', async () => {
    let count = 0;
    const failure = new Error('no token');
    await using harness = await Harness.start({
      headers: async () => {
        count++;
        if (count === 1 || count === 3) throw failure;
        return [['x-count', String(count)]];
      },
    });
    const { client, clock, gateway } = harness;
    const first = client.subscribe('news', () => {});
    expect((await harness.reaches('waiting')).error).toMatchObject({
      code: 'CONNECTION_LOST',
      message: expect.stringContaining('no token'),
      cause: failure,
    });
    clock.advance(250);
    const stream = await gateway.ready();
    expect(stream.request.headers['x-count']).toBe('2');
    await first;
    await harness.reaches('open');
    const second = client.subscribe('more', () => {});
    expect(await harness.reaches('open')).toMatchObject({
      error: { code: 'CONNECTION_LOST', cause: failure },
      retryAt: clock.now() + 250,
    });
    clock.advance(250);
    expect((await gateway.answered()).request.headers['x-count']).toBe('4');
    await second;
  });

  test.each([
    [{ authorization: 'Bearer a\nb' }, '"authorization"'],
    [[['x-name', 'Ada →']], '"x-name"'],
    [() => ({ authorization: 'Bearer secret', 'x-naïve': 'a' }), '"x-naïve"'],
    [async () => new Map([['x y', 'a']]), '"x y"'],
    [() => [['x-lone']], '"x-lone"'],
    [() => 5, '5'],
    [() => null, 'null'],
  ])(
    'that cannot be sent close the client with an error that names the header but not its value: %p',
    async (headers, part) => {
      await using harness = await Harness.start({ headers: headers as () => HeadersInit });
      const advice = 'names are tokens, values one line of Latin-1';
      const expected = `MessagingClient: option "headers": ${part} cannot be sent; ${advice}`;
      await expect(harness.client.subscribe('news', () => {})).rejects.toThrow(new ConfigurationError(expected));
      expect(harness.client.status).toMatchObject({ state: 'closed', reason: 'misconfigured' });
      expect(harness.client.status.error!.cause).toBeUndefined();
      expect([harness.gateway.requests, harness.clock.pending]).toEqual([[], 0]);
    },
  );

  test.each<[string, (given: object) => unknown]>([
    ['an object', (given) => given],
    ['a function', (given) => () => given],
  ])('without a value are left out: %s', async (_, make) => {
    const given = { authorization: undefined, 'x-none': null, 'x-empty': '', 'x-token': 'a' };
    await using harness = await Harness.start({ headers: make(given) as ClientHeaders });
    const { stream } = await harness.subscribed();
    expect(stream.request.headers).toMatchObject({ 'x-empty': '', 'x-token': 'a' });
    expect(stream.request.headers).not.toHaveProperty('authorization');
    expect(stream.request.headers).not.toHaveProperty('x-none');
  });

  test('may be undefined', async () => {
    await using harness = await Harness.start({ headers: () => undefined as unknown as HeadersInit });
    const { stream } = await harness.subscribed();
    expect(stream.request.headers.accept).toBe('text/event-stream');
  });

  test('that cannot be sent are requested again by a client that has been open', async () => {
    let token = 'good';
    await using harness = await Harness.start({ headers: () => ({ 'x-token': token }) });
    const { stream } = await harness.subscribed();
    token = 'b\nd';
    const more = harness.client.subscribe('more', () => {});
    const { error } = await harness.statuses.until((status) => status.error !== undefined);
    expect(error).toMatchObject({ code: 'CONFIGURATION', message: expect.stringContaining('"x-token"') });
    stream.cut();
    expect((await harness.reaches('waiting')).error).toBeInstanceOf(ConnectionLostError);
    harness.clock.advance(250);
    expect((await harness.reaches('waiting')).error).toBeInstanceOf(ConfigurationError);
    token = 'good';
    harness.clock.advance(500);
    expect((await harness.gateway.ready()).request.headers['x-token']).toBe('good');
    await more;
  });

  test('and other parts of a request may come from the application', async () => {
    const seen = new Queue<RequestInit>();
    await using harness = await Harness.start({
      credentials: 'include',
      fetch: (input, init) => {
        seen.push(init!);
        return fetch(input, init);
      },
    });
    await harness.subscribed();
    expect(await seen.next()).toMatchObject({
      method: 'POST',
      credentials: 'include',
      signal: expect.any(AbortSignal),
    });
  });
});

describe('The server', () => {
  test.each([
    ['messaging:end', 'end'],
    ['messaging:revoked', 'revoked'],
  ])('ends the client for good with %s', async (event, reason) => {
    await using harness = await Harness.start();
    const { stream, subscription } = await harness.subscribed();
    stream.event(event, {});
    expect(await harness.reaches('closed')).toEqual({
      state: 'closed',
      reason,
      error: expect.any(ConnectionClosedError),
    });
    expect(subscription.closed).toBe(true);
    await stream.closed;
    expect([harness.errors.pending, harness.clock.pending]).toEqual([[], 0]);
  });

  test('that goes away sets the time to come back', async () => {
    await using harness = await Harness.start();
    const { clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    stream.event('messaging:drain', {}, 'retry: 1234\n');
    expect(await harness.reaches('waiting')).toEqual({
      state: 'waiting',
      reason: 'drain',
      retryAt: clock.now() + 1_234,
    });
    await stream.closed;
    clock.advance(1_233);
    expect(harness.client.status.state).toBe('waiting');
    clock.advance(1);
    const again = await gateway.ready();
    again.event('messaging:drain', {});
    expect((await harness.reaches('waiting')).retryAt).toBe(clock.now() + 250);
  });

  test('that goes away is ignored from then on', async () => {
    await using harness = await Harness.start();
    const { messages, stream, subscription } = await harness.subscribed();
    await harness.reaches('open');
    stream.write(
      'event: messaging:drain\ndata: {}\n\nevent: messaging:revoked\ndata: {}\n\ndata: {"channel":"news","at":1,"data":1}\n\n',
    );
    await stream.closed;
    expect([harness.client.status.state, subscription.closed]).toEqual(['waiting', false]);
    expect(harness.statuses.pending).toHaveLength(1);
    expect(messages.pending).toEqual([]);
  });

  test('may send events that this client does not know', async () => {
    await using harness = await Harness.start();
    const { messages, stream } = await harness.subscribed();
    stream.write(
      ': comment\nfield: x\nretry: soon\nid: 7\n\nevent: messaging:tomorrow\ndata: {\n\nevent: own\ndata: 1\n\n',
    );
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.next()).toBe(1);
    expect(harness.errors.pending).toEqual([]);
  });
});

/** One whose headers are another token each time. */
function startRenewing() {
  let token = 0;
  return Harness.start({ headers: () => ({ 'x-token': String(++token) }) });
}

describe('A sign-in that is about to expire', () => {
  test('is renewed on the same stream, with fresh headers, once for each notice of the server', async () => {
    await using harness = await startRenewing();
    const { clock, gateway } = harness;
    const { messages, stream } = await harness.subscribed();
    for (const token of ['2', '3']) {
      stream.event('messaging:expiring', { leftMs: 60_000 });
      const { request } = await gateway.answered();
      expect([request.path, request.headers['x-token']]).toEqual(['/messages/c1/channels', token]);
      expect(request.body).toEqual({ subscribe: [], unsubscribe: [], renew: true });
    }
    const later = harness.client.subscribe('more', () => {});
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [{ channel: 'more' }], unsubscribe: [] });
    await later;
    stream.message({ channel: 'news', data: 'on' }, 1);
    expect(await messages.next()).toBe('on');
    clock.advance(10_000);
    await soon();
    expect([gateway.requests.length, harness.client.status]).toEqual([4, { state: 'open' }]);
  });

  test('is renewed after the current change, together with the next one', async () => {
    await using harness = await startRenewing();
    const { client, gateway } = harness;
    const { stream } = await harness.subscribed();
    const first = client.subscribe('first', () => {});
    const change = await gateway.changes.next();
    stream.event('messaging:expiring', { leftMs: 60_000 });
    await harness.settled(stream);
    const second = client.subscribe('second', () => {});
    await soon();
    expect(gateway.changes.pending).toEqual([]);
    change.answer();
    const next = await gateway.answered();
    expect(next.request.body).toEqual({ subscribe: [{ channel: 'second' }], unsubscribe: [], renew: true });
    await Promise.all([first, second]);
  });

  test('before the stream is ready is renewed as soon as the stream is ready', async () => {
    await using harness = await startRenewing();
    const { gateway } = harness;
    const subscribed = harness.client.subscribe('news', () => {});
    const stream = await gateway.streams.next();
    stream.open();
    stream.event('messaging:expiring', { leftMs: 60_000 });
    stream.ready();
    expect((await gateway.answered()).request.body).toMatchObject({ renew: true });
    await subscribed;
  });

  test.each([401, 503])('is renewed again after a failure, as with %i, while the stream continues', async (status) => {
    await using harness = await startRenewing();
    const { clock, gateway } = harness;
    const { messages, stream } = await harness.subscribed();
    await harness.reaches('open');
    stream.event('messaging:expiring', { leftMs: 60_000 });
    (await gateway.changes.next()).refuse(status);
    const { state, error, retryAt } = await harness.statuses.next();
    expect([state, error?.code]).toEqual(['open', 'CONNECTION_LOST']);
    stream.message({ channel: 'news', data: 'meanwhile' });
    expect(await messages.next()).toBe('meanwhile');
    clock.advance(retryAt! - clock.now());
    const { request } = await gateway.answered();
    expect([request.headers['x-token'], request.body.renew]).toEqual(['3', true]);
    expect(await harness.statuses.next()).toEqual({ state: 'open' });
  });

  test('and expires makes the client come back at the time set by the server, with fresh headers and its positions', async () => {
    await using harness = await startRenewing();
    const { clock, gateway } = harness;
    const { messages, stream } = await harness.subscribed();
    stream.message({ channel: 'news', data: 1 }, 7);
    expect(await messages.next()).toBe(1);
    stream.event('messaging:expired', {}, 'retry: 700\n');
    expect(await harness.reaches('waiting')).toEqual({
      state: 'waiting',
      reason: 'expired',
      retryAt: clock.now() + 700,
    });
    await stream.closed;
    clock.advance(700);
    const { request } = await gateway.ready({ offset: 7 });
    expect([request.headers['x-token'], request.body]).toEqual([
      '2',
      { channels: [{ channel: 'news', position: { epoch: 'e', offset: 7 } }], from: 'c1', awayMs: 700 },
    ]);
    await harness.reaches('open');
    expect(harness.errors.pending).toEqual([]);
  });

  test('and cannot be renewed closes the client when it is refused twice afterwards', async () => {
    await using harness = await startRenewing();
    const { clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    stream.event('messaging:expired', {}, 'retry: 700\n');
    await harness.reaches('waiting');
    clock.advance(700);
    (await gateway.streams.next()).refuse(401);
    const { retryAt } = await harness.reaches('waiting');
    clock.advance(retryAt! - clock.now());
    (await gateway.streams.next()).refuse(401);
    expect(await harness.reaches('closed')).toMatchObject({ state: 'closed', reason: 'refused' });
  });
});

describe('A stream without any wanted channel', () => {
  test('is closed after a while, and the client is idle', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream, subscription } = await harness.subscribed();
    await subscription.unsubscribe();
    await gateway.answered();
    clock.advance(4_999);
    expect(client.status.state).toBe('open');
    clock.advance(1);
    expect(client.status).toEqual({ state: 'idle' });
    await stream.closed;
    expect(clock.pending).toBe(0);
    const again = client.subscribe('news', () => {});
    await gateway.ready();
    await again;
  });

  test('stays if a channel is wanted again meanwhile', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { messages, stream, subscription } = await harness.subscribed();
    await subscription.unsubscribe();
    await gateway.answered();
    clock.advance(4_000);
    const again = client.subscribe('news', messages.push);
    await gateway.answered();
    await again;
    clock.advance(5_000);
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.next()).toBe(1);
    expect(client.status.state).toBe('open');
  });

  test('is closed even if it is not ready yet', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    client.subscribe('news', () => {}).catch(() => {});
    const stream = await gateway.streams.next();
    await client.unsubscribe('news');
    clock.advance(5_000);
    expect(client.status).toEqual({ state: 'idle' });
    await stream.closed;
    expect(clock.pending).toBe(0);
  });
});

describe('Trying again at once', () => {
  test('ends the wait', async () => {
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    stream.cut();
    await harness.reaches('waiting');
    harness.clock.advance(249);
    harness.client.retryNow();
    expect(harness.client.status.state).toBe('waiting');
    harness.clock.advance(1);
    expect(harness.client.status.state).toBe('connecting');
    await harness.gateway.ready();
    await harness.reaches('open');
  });

  test('during an attempt that fails comes 250 ms after it, once, and hurries no attempt after a stream that was ready', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    clock.chance = 0.8;
    client.subscribe('news', () => {}).catch(() => {});
    const wait = async (): Promise<number> => {
      await harness.reaches('waiting');
      let waited = 0;
      for (; client.status.state === 'waiting' && waited < 2_500; waited++) clock.advance(1);
      return waited;
    };
    const cutOff = async (isHurried: boolean): Promise<number> => {
      const stream = await gateway.streams.next();
      if (isHurried) client.retryNow();
      stream.cut();
      return wait();
    };
    expect(await cutOff(false)).toBe(400);
    expect(await cutOff(false)).toBe(800);
    expect(await cutOff(true)).toBe(250);
    expect(await cutOff(false)).toBe(1_200);
    const stream = await gateway.streams.next();
    client.retryNow();
    stream.ready();
    await harness.reaches('open');
    clock.advance(10_000);
    stream.cut();
    expect(await wait()).toBe(400);
  });

  test('whenever an attempt fails comes no sooner than 250 ms after it', async () => {
    let attempts = 0;
    await using harness = await Harness.start({
      fetch: () => {
        if (++attempts > 100) return new Promise(() => {});
        throw new TypeError('no network');
      },
    });
    const { client, clock } = harness;
    clock.chance = 0.999;
    client.onStatus(({ state }) => state === 'waiting' && client.retryNow());
    client.subscribe('news', () => {}).catch(() => {});
    expect(await attemptsAfter([0, 249, 1, 249, 1, 249], clock, () => attempts)).toEqual([1, 1, 2, 2, 3, 3]);
  });

  test.each([undefined, shareAcrossTabs()])(
    'whenever the client is closed comes no sooner than 250 ms after it',
    async (link) => {
      let attempts = 0;
      await using harness = await Harness.start({
        ...(link && { link }),
        headers: () => {
          if (++attempts > 100) return new Promise(() => {});
          throw new ConfigurationError('no token');
        },
      });
      const { client, clock } = harness;
      const subscribe = () => void client.subscribe('news', () => {}).catch(() => {});
      client.onStatus(({ state }) => {
        if (state !== 'closed' || attempts > 50) return;
        client.retryNow();
        subscribe();
      });
      subscribe();
      expect(await attemptsAfter([0, 249, 1, 249, 1, 249], clock, () => attempts)).toEqual([1, 1, 2, 2, 3, 3]);
    },
  );

  test('after the page was busy or asleep waits no longer than it would have', async () => {
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    harness.clock.chance = 0.1;
    stream.cut();
    await harness.reaches('waiting');
    harness.clock.setBack(3_600_000);
    harness.client.retryNow();
    harness.clock.advance(50);
    expect(harness.client.status.state).toBe('connecting');
  });

  test('waits for the time requested by the server', async () => {
    await using harness = await Harness.start();
    harness.client.subscribe('news', () => {}).catch(() => {});
    (await harness.gateway.streams.next()).refuse(503, '', { 'retry-after': '20' });
    await harness.reaches('waiting');
    harness.client.retryNow();
    expect(harness.client.status.state).toBe('waiting');
    harness.clock.advance(20_000);
    harness.client.retryNow();
    harness.clock.advance(0);
    expect(harness.client.status.state).toBe('connecting');
  });

  test('replaces a stream that is not answered for 5 s, and leaves a younger attempt alone', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    client.subscribe('news', () => {}).catch(() => {});
    const stream = await gateway.streams.next();
    clock.advance(4_999);
    client.retryNow();
    clock.advance(1_500);
    expect(client.status.state).toBe('connecting');
    client.retryNow();
    clock.advance(1_500);
    await harness.reaches('waiting');
    await stream.closed;
    client.retryNow();
    clock.advance(250);
    await gateway.ready();
    await harness.reaches('open');
  });

  test('makes a refused client usable again, but not a closed one', async () => {
    await using harness = await Harness.start();
    const { client, gateway, clock } = harness;
    client.subscribe('news', () => {}).catch(() => {});
    (await gateway.streams.next()).refuse(204);
    await harness.reaches('closed');
    client.retryNow();
    expect(await harness.reaches('idle')).toEqual({ state: 'idle' });
    const subscribed = harness.subscribed();
    await soon();
    clock.advance(250);
    const { messages, stream } = await subscribed;
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.next()).toBe(1);
    client.close();
    client.retryNow();
    expect(client.status).toEqual({ state: 'closed', reason: 'close' });
    await expect(client.subscribe('news', () => {})).rejects.toThrow(ConnectionClosedError);
  });
});

/** Lets so many milliseconds pass, one wait after the other; how many attempts there were after each. */
async function attemptsAfter(waits: readonly number[], clock: FakeClock, attempts: () => number): Promise<number[]> {
  const counts: number[] = [];
  for (const ms of waits) {
    clock.advance(ms);
    await soon();
    counts.push(attempts());
  }
  return counts;
}

/** Lets time pass until the client tries again. */
async function nextAttempt(harness: Harness, meanwhile?: () => Promise<void>): Promise<Exchange> {
  const { retryAt } = await harness.reaches('waiting');
  await meanwhile?.();
  harness.clock.advance(retryAt! - harness.clock.now());
  return harness.gateway.streams.next();
}

async function startWithGaps() {
  const harness = await Harness.start();
  const gaps = new Queue<unknown>();
  // But those by which it is known how far a stream was read.
  harness.client.onGap((gap) => gap.channel !== 'marker' && gaps.push(gap));
  return {
    harness,
    gaps,
    ...(await harness.subscribed()),
    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  };
}

const at = (channel: string, offset: number) => ({ channel, position: { epoch: 'e', offset } });

describe('After its stream has broken off, a client', () => {
  test('requests the messages after the last received one of each channel, and tells how long it has read nothing', async () => {
    await using world = await startWithGaps();
    const { harness, messages, stream, gaps } = world;
    harness.client.subscribe('more', () => {}).catch(() => {});
    await harness.gateway.answered();
    stream.event('messaging:position', { channels: [{ channel: 'more', position: { epoch: 'm', offset: 40 } }] });
    stream.message({ channel: 'news', data: 'before' }, 7);
    stream.message({ channel: 'news', data: 'without a number' });
    stream.message({ channel: 'nobody’s' }, 99);
    await messages.take(2);
    await harness.settled(stream);
    stream.cut();
    harness.client.subscribe('new', () => {}).catch(() => {});
    const next = await nextAttempt(harness);
    expect(next.request.body).toEqual({
      channels: [at('news', 7), { channel: 'more', position: { epoch: 'm', offset: 40 } }, { channel: 'new' }],
      from: 'c1',
      awayMs: 250,
    });
    next.open();
    next.message({ channel: 'news', data: 'missed' }, 8);
    next.ready({ connection: 'c2', epoch: 'other', offset: 20 });
    expect(await messages.next()).toBe('missed');
    next.message({ channel: 'news', data: 'after' }, 21);
    expect(await messages.next()).toBe('after');
    next.cut();
    const { body } = (await nextAttempt(harness)).request;
    expect(body.channels).toEqual([
      { channel: 'news', position: { epoch: 'other', offset: 21 } },
      { channel: 'more', position: { epoch: 'other', offset: 20 } },
      { channel: 'new', position: { epoch: 'other', offset: 20 } },
    ]);
    expect(body.from).toBe('c2');
    expect(gaps.pending).toEqual([]);
  });

  test('takes missed messages at once, and continues after them if the next stream breaks off too', async () => {
    await using world = await startWithGaps();
    const { harness, messages, stream } = world;
    stream.cut();
    const second = await nextAttempt(harness);
    second.open();
    second.message({ channel: 'news', data: 1 }, 3);
    second.message({ channel: 'news', data: 2 }, 4);
    expect(await messages.take(2)).toEqual([1, 2]);
    second.cut();
    const third = await nextAttempt(harness);
    expect(third.request.body.channels).toEqual([at('news', 4)]);
    third.open();
    third.message({ channel: 'news', data: 'doubled' }, 4);
    third.message({ channel: 'news', data: 3 }, 5);
    third.ready({ epoch: 'f', offset: 1 });
    third.message({ channel: 'news', data: 4 }, 2);
    expect(await messages.take(2)).toEqual([3, 4]);
    expect(messages.pending).toEqual([]);
  });

  test('counts messages of a template separately from those of one of its channels by name', async () => {
    await using world = await startWithGaps();
    const { harness, stream, messages } = world;
    const heard = new Queue<unknown>();
    harness.client.subscribe('news/:id', heard.push).catch(() => {});
    harness.client.subscribe('news/1', heard.push).catch(() => {});
    await harness.gateway.answered();
    stream.event('messaging:position', { channels: [at('news/:id', 0), at('news/1', 0)] });
    stream.message({ channel: 'news/1', template: 'news/:id', data: 'a' }, 1);
    stream.message({ channel: 'news/2', template: 'news/:id', data: 'b' }, 2);
    stream.message({ channel: 'news/1', data: 'a' }, 1);
    expect(await heard.take(3)).toEqual(['a', 'b', 'a']);
    stream.cut();
    expect((await nextAttempt(harness)).request.body.channels).toEqual([
      at('news', 0),
      at('news/:id', 2),
      at('news/1', 1),
    ]);
    expect(messages.pending).toEqual([]);
  });

  test('gets one gap with its reason on each channel with missing messages, and on no other', async () => {
    await using world = await startWithGaps();
    const { harness, stream, gaps } = world;
    for (const channel of ['lost', 'dropped', 'denied']) harness.client.subscribe(channel, () => {}).catch(() => {});
    await harness.gateway.answered();
    const channels = ['lost', 'dropped', 'denied'].map((channel) => at(channel, 0));
    stream.event('messaging:position', { channels });
    await harness.settled(stream);
    stream.cut();
    const next = await nextAttempt(harness, async () => {
      await harness.client.unsubscribe('dropped');
      harness.client.subscribe('dropped', () => {}).catch(() => {});
    });
    const position = { epoch: 'f', offset: 5 };
    next.ready({ ...position, lost: { lost: 'node' }, denied: { denied: 'CHANNEL_DENIED' } });
    await harness.reaches('open');
    expect(gaps.pending).toEqual([{ channel: 'lost', reason: 'node', position }]);
  });

  test('gets a gap from the server in its place, and continues after it', async () => {
    await using world = await startWithGaps();
    const { harness, stream, gaps, messages } = world;
    stream.message({ channel: 'news', data: 1 }, 1);
    stream.event('messaging:gap', { channel: 'news', reason: 'broker' }, 'id: 2\n');
    expect(await messages.next()).toBe(1);
    expect(await gaps.next()).toEqual({ channel: 'news', reason: 'broker', position: { epoch: 'e', offset: 2 } });
    stream.cut();
    expect((await nextAttempt(harness)).request.body.channels).toEqual([at('news', 2)]);
  });

  test('recovers through changes if one request has no room for everything', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const gaps = new Queue<unknown>();
    client.onGap(gaps.push);
    const names = Array.from({ length: 200 }, (_, index) => `${index}/${'x'.repeat(180)}`);
    const all = names.map((name) => client.subscribe(name, () => {}));
    const first = await gateway.ready({ epoch: 'e'.repeat(100) });
    await Promise.all(all);
    first.cut();
    const next = await nextAttempt(harness);
    next.ready({ epoch: 'f' });
    const change = await gateway.changes.next();
    expect(next.wanted.length).toBeLessThan(200);
    expect(next.wanted.length + change.wanted.length).toBe(200);
    expect(change.request.body.subscribe![0]).toEqual({
      channel: change.wanted[0],
      position: { epoch: 'e'.repeat(100), offset: 0 },
    });
    change.answer();
    const [lost, ...recovered] = change.wanted;
    const position = { epoch: 'f', offset: 3 };
    next.event('messaging:position', {
      channels: [
        ...recovered.map((channel) => ({ channel, position, recovered: true })),
        { channel: lost, position, recovered: false, reason: 'trimmed' },
      ],
    });
    expect(await gaps.next()).toEqual({ channel: lost, reason: 'trimmed', position });
    await harness.settled(next);
    expect(gaps.pending).toHaveLength(1);
  });

  test('gets a gap of unknown reason from a server that does not know positions', async () => {
    await using world = await startWithGaps();
    const { harness, stream, gaps } = world;
    stream.cut();
    (await nextAttempt(harness)).ready({ epoch: null });
    expect(await gaps.next()).toEqual({ channel: 'news', reason: 'unknown' });
    await harness.reaches('open');
    expect(gaps.pending).toEqual([]);
  });

  test('gets no gap if its stream began without any permitted channel', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const gaps = new Queue<unknown>();
    client.onGap(gaps.push);
    const denied = client.subscribe('secret', () => {});
    const stream = await gateway.ready({ denied: { secret: 'CHANNEL_DENIED' } });
    await expect(denied).rejects.toThrow(ChannelDeniedError);
    const messages = new Queue<unknown>();
    const subscribed = client.subscribe('news', messages.push);
    const change = await gateway.changes.next();
    // The stream may say so before the change is answered.
    stream.event('messaging:position', { channels: [{ channel: 'news', position: { epoch: 'e', offset: 3 } }] });
    await harness.settled(stream);
    change.answer();
    await subscribed;
    stream.message({ channel: 'news', data: 'first' }, 4);
    expect(await messages.next()).toBe('first');
    stream.cut();
    expect((await nextAttempt(harness)).request.body.channels).toEqual([at('news', 4)]);
    expect(gaps.pending).toEqual([{ channel: 'marker', reason: 'broker' }]);
  });

  test('counts from the start on another server, even if a history continues elsewhere before the stream is ready', async () => {
    await using harness = await Harness.start();
    const { messages, stream } = await harness.subscribed('news');
    const kept = harness.client.subscribe('kept', () => {});
    await harness.gateway.answered();
    await kept;
    stream.message({ channel: 'news', data: 'here' }, 20);
    expect(await messages.next()).toBe('here');
    stream.cut();
    const next = await nextAttempt(harness);
    next.open();
    next.event('messaging:position', { channels: [{ channel: 'kept', position: { epoch: 'h.e', offset: 1 } }] });
    next.ready({ epoch: 'other', offset: 3 });
    next.message({ channel: 'news', data: 'there' }, 4);
    await harness.settled(next);
    expect(messages.pending).toEqual(['there']);
    next.cut();
    expect((await nextAttempt(harness)).request.body.channels).toContainEqual({
      channel: 'news',
      position: { epoch: 'other', offset: 4 },
    });
  });

  test('asks a server that does not understand positions once without them, which costs at most one gap', async () => {
    await using world = await startWithGaps();
    const { harness, stream, gaps, subscription } = world;
    stream.cut();
    (await nextAttempt(harness)).refuse(400);
    const plain = await nextAttempt(harness);
    expect(plain.request.body.channels).toEqual([{ channel: 'news' }]);
    plain.refuse(503);
    const again = await nextAttempt(harness);
    expect(again.request.body.channels).toEqual([at('news', 0)]);
    again.refuse(400);
    (await nextAttempt(harness)).ready({ epoch: null });
    expect(await gaps.next()).toEqual({ channel: 'news', reason: 'unknown' });
    expect(subscription.closed).toBe(false);
    await harness.reaches('open');
    expect(gaps.pending).toEqual([]);
  });
});

describe('A silent stream', () => {
  test('is asked for after one and a half heartbeats, and given up if nothing comes', async () => {
    await using harness = await Harness.start();
    const { clock, gateway } = harness;
    const subscribed = harness.client.subscribe('news', () => {});
    const stream = await gateway.ready({ heartbeatMs: 10_000 });
    await subscribed;
    clock.advance(10_000);
    stream.write(':');
    stream.write('\n\n');
    await harness.settled(stream);
    clock.advance(14_999);
    await soon();
    expect(gateway.changes.pending).toEqual([]);
    clock.advance(1);
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: [] });
    clock.advance(1_499);
    expect(harness.client.status.state).toBe('open');
    clock.advance(1);
    expect(harness.client.status).toMatchObject({
      state: 'waiting',
      error: { code: 'CONNECTION_LOST', message: expect.stringContaining('silent') },
    });
    await stream.closed;
    clock.advance(250);
    await gateway.ready();
  });

  test('is given up in time even if somebody sets the clock back', async () => {
    await using harness = await Harness.start();
    const { clock } = harness;
    await harness.subscribed();
    clock.setBack(3_600_000);
    clock.advance(23_999);
    expect(harness.client.status.state).toBe('open');
    clock.advance(1);
    expect(harness.client.status).toMatchObject({ state: 'waiting', retryAt: clock.now() + 250 });
  });

  test('without an answer to a change is given up in time even if somebody sets the clock back', async () => {
    await using harness = await Harness.start();
    const { clock } = harness;
    const subscribed = harness.client.subscribe('news', () => {});
    await harness.gateway.ready({ heartbeatMs: 0 });
    await subscribed;
    harness.client.subscribe('more', () => {}).catch(() => {});
    await harness.gateway.changes.next();
    clock.setBack(3_600_000);
    clock.advance(30_000);
    expect(harness.client.status.state).toBe('waiting');
  });

  test('stays if something comes when it is asked for', async () => {
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    for (const silentMs of [22_500, 21_000, 21_000]) {
      clock.advance(silentMs);
      (await gateway.changes.next()).answer();
      stream.write(':\n\n');
      await harness.settled(stream);
      clock.advance(1_500);
    }
    expect(client.status.state).toBe('open');
  });

  test('that is silent because the page was busy is read before it is given up', async () => {
    await using harness = await Harness.start();
    const { clock } = harness;
    const { messages, stream } = await harness.subscribed();
    // As if a callback had taken so long: all timers go off late, before what has come is read.
    clock.oversleep(25_000);
    expect(harness.client.status.state).toBe('open');
    clock.oversleep(25_000);
    expect(harness.client.status.state).toBe('open');
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.next()).toBe(1);
    clock.advance(1_500);
    expect(harness.client.status.state).toBe('open');
  });

  test('stays if the server sends no heartbeats', async () => {
    await using harness = await Harness.start();
    const subscribed = harness.client.subscribe('news', () => {});
    await harness.gateway.ready({ heartbeatMs: 0 });
    await subscribed;
    expect(harness.clock.pending).toBe(0);
    harness.clock.advance(1e9);
    expect(harness.client.status.state).toBe('open');
  });

  test('is watched without a timer for each of many chunks', async () => {
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    const before = harness.clock.delays.pending.length;
    for (let sent = 0; sent < 20; sent++) {
      stream.message({ channel: 'news' });
      await harness.settled(stream);
    }
    expect(harness.clock.delays.pending).toHaveLength(before);
    expect(harness.clock.pending).toBe(1);
  });

  test.each([
    ['no answer', () => {}],
    ['no ready event', (stream: { open(): void }) => stream.open()],
  ])('from its start is given up soon after 15 s: %s', async (_, act) => {
    await using harness = await Harness.start();
    const { clock } = harness;
    harness.client.subscribe('news', () => {}).catch(() => {});
    const stream = await harness.gateway.streams.next();
    act(stream);
    clock.advance(16_499);
    expect(harness.client.status.state).toBe('connecting');
    clock.advance(1);
    expect(harness.client.status.state).toBe('waiting');
    await stream.closed;
  });

  test('that brings missed messages for minutes is not given up, although it is not ready', async () => {
    await using harness = await Harness.start();
    harness.client.subscribe('news', () => {}).catch(() => {});
    const stream = await harness.gateway.streams.next();
    stream.open();
    for (let times = 0; times < 20; times++) {
      harness.clock.advance(14_000);
      stream.message({ channel: 'news' });
      await harness.settled(stream);
    }
    expect(harness.client.status.state).toBe('connecting');
  });

  test('that waits for headers is given up as well', async () => {
    await using harness = await Harness.start({ headers: () => new Promise(() => {}) });
    harness.client.subscribe('news', () => {}).catch(() => {});
    await harness.reaches('connecting');
    harness.clock.advance(16_500);
    expect(harness.client.status.state).toBe('waiting');
  });
});

describe('In a browser', () => {
  const names = ['addEventListener', 'document', 'navigator'] as const;
  const originals = names.map((name) => Object.getOwnPropertyDescriptor(globalThis, name));
  afterEach(() => {
    names.forEach((name, index) => {
      const original = originals[index];
      if (original) Object.defineProperty(globalThis, name, original);
      else Reflect.deleteProperty(globalThis, name);
    });
  });

  /** Makes this process look like a page; gives what its listeners are registered with. */
  function page() {
    const window = new EventTarget();
    const inner = new EventTarget();
    const network = new EventTarget();
    const document = { hidden: false };
    const listeners: string[] = [];
    const follow = (target: EventTarget) => ({
      addEventListener: (type: string, listener: EventListener, options: { signal: AbortSignal }) => {
        listeners.push(type);
        target.addEventListener(type, listener, options);
        options.signal.addEventListener('abort', () => listeners.splice(listeners.indexOf(type), 1));
      },
    });
    const navigator = { connection: Object.assign(follow(network), { type: 'wifi' }) };
    const globals = { ...follow(window), document: Object.assign(document, follow(inner)), navigator };
    for (const name of names)
      Object.defineProperty(globalThis, name, { value: globals[name], configurable: true, writable: true });
    return { window, document, inner, network, navigator, listeners };
  }

  test.each(['online', 'pageshow', 'visibilitychange', 'resume'])('%s ends the wait', async (type) => {
    const { inner, window, listeners } = page();
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    expect(listeners.toSorted()).toEqual(['change', 'online', 'pageshow', 'resume', 'visibilitychange']);
    harness.clock.chance = 0.999;
    stream.cut();
    await harness.reaches('waiting');
    (type === 'online' || type === 'pageshow' ? window : inner).dispatchEvent(new Event(type));
    harness.clock.advance(250);
    expect(harness.client.status.state).toBe('connecting');
    await harness.gateway.ready();
    await harness.reaches('open');
    harness.client.close();
    expect(listeners).toEqual([]);
  });

  test('a hidden page does not end the wait, but coming online does', async () => {
    const { document, inner, window } = page();
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    harness.clock.chance = 0.999;
    stream.cut();
    await harness.reaches('waiting');
    document.hidden = true;
    inner.dispatchEvent(new Event('visibilitychange'));
    expect(harness.client.status.state).toBe('waiting');
    window.dispatchEvent(new Event('online'));
    harness.clock.advance(250);
    expect(harness.client.status.state).toBe('connecting');
  });

  test.each([['stream'], ['change']])(
    'being online again does not repeat a %s before the time set by the server',
    async (what) => {
      const { window } = page();
      await using harness = await Harness.start();
      const { clock, gateway } = harness;
      const refused = { 'retry-after': '20' };
      harness.client.subscribe('news', () => {}).catch(() => {});
      if (what === 'stream') {
        (await gateway.streams.next()).refuse(503, '', refused);
        await harness.reaches('waiting');
      } else {
        await gateway.ready();
        await harness.reaches('open');
        harness.client.subscribe('more', () => {}).catch(() => {});
        (await gateway.changes.next()).refuse(503, '', refused);
        await harness.reaches('open');
      }
      const before = gateway.requests.length;
      window.dispatchEvent(new Event('online'));
      await soon();
      expect([gateway.requests.length, clock.pending, harness.client.status.state]).toEqual(
        what === 'stream' ? [before, 1, 'waiting'] : [before, 2, 'open'],
      );
      clock.sleep(20_000);
      window.dispatchEvent(new Event('online'));
      clock.advance(0);
      await (what === 'stream' ? gateway.streams : gateway.changes).next();
    },
  );

  test('another kind of network ends the wait, but not the same one found faster', async () => {
    const { network, navigator } = page();
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    harness.clock.chance = 0.999;
    stream.cut();
    await harness.reaches('waiting');
    network.dispatchEvent(new Event('change'));
    expect(harness.client.status.state).toBe('waiting');
    navigator.connection.type = 'cellular';
    network.dispatchEvent(new Event('change'));
    harness.clock.advance(250);
    expect(harness.client.status.state).toBe('connecting');
  });

  test.each(['online', 'resume', 'change'])('%s finds a dead stream within 1.5 s', async (type) => {
    const { inner, network, navigator, window } = page();
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    clock.sleep(3_600_000);
    navigator.connection.type = 'cellular';
    const target = { online: window, resume: inner, change: network }[type]!;
    target.dispatchEvent(new Event(type));
    target.dispatchEvent(new Event(type));
    window.dispatchEvent(new Event('pageshow'));
    expect((await gateway.changes.next()).request.body).toEqual({ subscribe: [], unsubscribe: [] });
    clock.advance(1_499);
    expect(client.status.state).toBe('open');
    clock.advance(1);
    expect(client.status.state).toBe('waiting');
    expect(gateway.changes.pending).toEqual([]);
    await stream.closed;
    clock.advance(250);
    await gateway.ready();
    await harness.reaches('open');
  });

  test('a page that is visible again keeps a live stream', async () => {
    const { inner } = page();
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    inner.dispatchEvent(new Event('visibilitychange'));
    (await gateway.changes.next()).answer();
    stream.event('messaging:position', { channels: [] });
    await harness.settled(stream);
    clock.advance(1_500);
    expect(client.status.state).toBe('open');
  });

  test('a page that is visible again uses the answer to a pending change', async () => {
    const { inner } = page();
    await using harness = await Harness.start();
    const { client, clock, gateway } = harness;
    const { stream } = await harness.subscribed();
    const more = client.subscribe('more', () => {});
    const change = await gateway.changes.next();
    inner.dispatchEvent(new Event('visibilitychange'));
    clock.advance(1_000);
    stream.event('messaging:position', { channels: [] });
    await harness.settled(stream);
    change.answer();
    await more;
    clock.advance(1_000);
    expect([client.status.state, gateway.changes.pending]).toEqual(['open', []]);
  });

  test('being online again repeats a waiting change at once', async () => {
    const { window } = page();
    await using harness = await Harness.start();
    await harness.subscribed();
    await harness.reaches('open');
    const more = harness.client.subscribe('more', () => {});
    (await harness.gateway.changes.next()).refuse(503);
    await harness.reaches('open');
    window.dispatchEvent(new Event('online'));
    harness.clock.advance(250);
    await harness.gateway.answered();
    expect((await more).closed).toBe(false);
  });

  test.each([
    ['https://example.org/app/', '/messages'],
    ['app://local/index.html', 'messages'],
  ])('at %s a path is enough of a URL', async (href, url) => {
    const { fetch: original } = globalThis;
    const asked = new Queue<unknown>();
    Object.defineProperty(globalThis, 'location', { value: new URL(href), configurable: true });
    globalThis.fetch = async (address) => {
      asked.push(address);
      return new Promise(() => {});
    };
    try {
      using client = new MessagingClient({ url });
      client.subscribe('news', () => {}).catch(() => {});
      expect(await asked.next()).toBe(url);
    } finally {
      globalThis.fetch = original;
      Reflect.deleteProperty(globalThis, 'location');
    }
  });
});

test.each(['connecting', 'open', 'waiting', 'idle'] as const)(
  'A client may be closed as it becomes %s',
  async (state) => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    client.onStatus((status) => status.state === state && client.close());
    const settled = client.subscribe('news', () => {}).catch((error: unknown) => error);
    if (state !== 'connecting') {
      const stream = await gateway.ready();
      await settled;
      if (state === 'idle') {
        await client.unsubscribe('news');
        await gateway.answered();
      }
      if (state !== 'open') stream.cut();
      await stream.closed;
    }
    await harness.reaches('closed');
    await soon();
    expect(client.status.state).toBe('closed');
    expect(harness.statuses.pending).toEqual([]);
    expect(harness.clock.pending).toBe(0);
  },
);
