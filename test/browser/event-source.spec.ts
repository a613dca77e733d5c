import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Controller, Get, Header, Req } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { transform } from 'esbuild';
import type { Browser, Page } from 'playwright-core';
import { EMPTY, concat, merge, of, timer } from 'rxjs';
import { map } from 'rxjs/operators';
import {
  defineChannel,
  type Limits,
  Messages,
  MessagingModule,
  MessagingService,
  SessionMessages,
  Sse,
  type AuthenticationClaims,
} from 'nestjs-messaging';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { ADAPTER_NAMES, startApp, type AdapterName } from '../support/apps.js';
import { launchChromium } from '../support/chromium.js';
import { ServerProcess } from '../support/client-server-process.js';
import { Hub } from '../../lib/core/hub.js';
import { EventStreams } from '../../lib/sse/event-streams.js';
import { Queue } from '../support/queue.js';
import { randomFrom } from '../support/random.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';
import { StreamedOrders } from '../support/stream-server.js';

// How a browser's own EventSource handles the streams.

class UserUpdate {
  constructor(
    readonly id: number,
    readonly name: string,
  ) {}
}
const Users = defineChannel('user_updates', UserUpdate);
const Orders = defineChannel<number>('browser/orders', undefined, { history: { maxMessages: 100, ttlMs: 60_000 } });

const Texts = defineChannel('browser/texts', undefined, { clients: true });
const KeptTexts = defineChannel('browser/kept', undefined, {
  clients: true,
  history: { maxMessages: 1_000, ttlMs: 60_000 },
});

/** The requests for streams, in the order in which they came. */
let requests = new Queue<string>();

@Controller()
class Streams {
  @Get('page')
  @Header('content-type', 'text/html')
  page() {
    return '<!doctype html><title>page</title>';
  }

  @Sse('users')
  users(@Messages() messages: SessionMessages, @Req() { url }: { url: string }) {
    requests.push(url);
    return messages.createStream(Users);
  }

  @Sse('orders')
  orders(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders);
  }

  @Sse('texts')
  texts(@Messages() messages: SessionMessages) {
    return merge(messages.createStream(Texts), messages.createStream(KeptTexts));
  }

  @Sse('finite')
  finite(@Req() { url }: { url: string }) {
    requests.push(url);
    return of('one', 'two\nlines', { three: 3 });
  }

  @Sse('empty')
  empty(@Req() { url }: { url: string }) {
    requests.push(url);
    return EMPTY;
  }

  @Sse('breaks')
  breaks(@Req() { url }: { url: string }) {
    requests.push(url);
    return concat(
      of('before'),
      timer(1).pipe(
        map(() => {
          throw new Error('broken');
        }),
      ),
    );
  }
}

let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
}, 60_000);
afterAll(() => browser.close());

/** Opens an EventSource in a page and notes what it dispatches. */
async function open(page: Page, path: string): Promise<Queue<[type: string, data: unknown]>> {
  const events = new Queue<[string, unknown]>();
  await page.exposeFunction('note', (type: string, data: unknown) => events.push([type, data]));
  await page.evaluate((url) => {
    const note = (globalThis as unknown as { note: (type: string, data: unknown) => void }).note;
    const source = new EventSource(url);
    (globalThis as unknown as { source: EventSource }).source = source;
    for (const type of [
      'message',
      'UserUpdate',
      'messaging:end',
      'messaging:revoked',
      'messaging:expired',
      'messaging:drain',
      'messaging:gap',
      'messaging:position',
    ])
      source.addEventListener(type, ({ data }) => note(type, JSON.parse(data as string)));
    source.addEventListener('error', () => note('error', source.readyState));
    source.addEventListener('open', () => note('open', null));
  }, path);
  return events;
}

const asAda = (): AuthenticationClaims => ({ userId: 'ada' });

async function setup(adapter: AdapterName, retryMs = 20, authenticate = asAda, limits: Partial<Limits> = {}) {
  requests = new Queue();
  const running = await startApp(
    { imports: [MessagingModule.forRoot({ sse: { retryMs }, authenticate, limits })], controllers: [Streams] },
    { adapter },
  );
  const page = await browser.newPage();
  await page.goto(`${running.url}/page`);
  return { ...running, messaging: running.app.get(MessagingService), page };
}

type Events = Queue<[type: string, data: unknown]>;
type PostOrders = (...numbers: number[]) => Promise<void>;

/** Opens the stream of a channel with history, and reads the first two orders. */
async function openOrders(page: Page, post: PostOrders): Promise<Events> {
  const events = await open(page, '/orders');
  expect(await events.next()).toEqual(['open', null]);
  expect(await events.next()).toEqual(['messaging:position', expect.anything()]);
  await post(1, 2);
  expect(await events.take(2)).toEqual([
    ['message', 1],
    ['message', 2],
  ]);
  return events;
}

/** The posts from the server's absence come first, then the next one. */
async function expectOrdersGoOn(events: Events, post: PostOrders): Promise<void> {
  expect([await events.until(isMessage), await events.until(isMessage)]).toEqual([
    ['message', 3],
    ['message', 4],
  ]);
  await post(5);
  expect(await events.until(isMessage)).toEqual(['message', 5]);
}

/** Text that an event stream, or JSON, could misread. */
const PIECES = [
  ...['\r', '\n', '\r\n', '\n\n', '\r\r', '\0', '\ufeff', '\ud800', '\udfff', '\u2028', '\u2029', '\u0085', '\u001b'],
  ...[
    'id: evil\n',
    'event: evil\n',
    'data: evil\n\n',
    'retry: 1\n',
    ':',
    ': ',
    ' ',
    '"',
    '\\',
    '\\n',
    '\u{1f600}',
    'a',
    '',
  ],
];

/** Opens an EventSource in a page, and notes each message as ASCII JSON, and every other event. */
async function openTexts(page: Page, path: string): Promise<Queue<string>> {
  const told = new Queue<string>();
  const name = `tell${path.replaceAll(/\W/g, '')}`;
  await page.exposeFunction(name, told.push);
  await page.evaluate(
    ([url, tell]) => {
      const note = (globalThis as unknown as Record<string, (text: string) => void>)[tell!]!;
      // oxlint-disable-next-line unicorn/consistent-function-scoping -- it runs in the page
      const ascii = (text: string) =>
        text.replaceAll(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
      const source = new EventSource(url!);
      source.addEventListener('message', ({ data, lastEventId }) => {
        if (lastEventId.includes('evil')) note('an id');
        note(ascii(JSON.stringify(JSON.parse(data as string))));
      });
      for (const type of ['evil', 'messaging:end', 'messaging:revoked'])
        source.addEventListener(type, () => note(`the event ${type}`));
      source.addEventListener('open', () => note('open'));
    },
    [path, name],
  );
  return told;
}

/** In the form of {@link openTexts}. */
function noted(message: unknown): string {
  return JSON.stringify(message).replaceAll(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const DOCUMENT = resolve(import.meta.dirname, '../../docs/event-streams.md');

const isMessage = ([type]: readonly [string, unknown]) => type === 'message' || type === 'messaging:gap';

const CONNECTING = 0;
const CLOSED = 2;

describe.each(ADAPTER_NAMES)('an EventSource on %s', (adapter) => {
  test('reads any posted text unchanged, from a route and from the gateway, and mistakes none of it for fields', async () => {
    await using running = await startApp(
      { imports: [MessagingModule.forRoot({ gateway: true })], controllers: [Streams] },
      { adapter },
    );
    const page = await browser.newPage();
    await page.goto(`${running.url}/page`);
    const channels = [Texts, KeptTexts].map(({ name }) => `channel=${name}`).join('&');
    const streams = [await openTexts(page, '/texts'), await openTexts(page, `/messages?${channels}`)];
    for (const stream of streams) expect(await stream.next()).toBe('open');
    const random = randomFrom(20_261_126);
    const text = () => Array.from({ length: random(8) }, () => PIECES[random(PIECES.length)]).join('');
    const messages = Array.from({ length: 300 }, () => (random(3) === 0 ? { [text()]: [text()] } : text()));
    const messaging = running.app.get(MessagingService);
    for (const message of messages) await messaging.postMessage(random(2) === 0 ? Texts : KeptTexts, message);
    // An application may write JSON over several lines, and browsers receive the exact text.
    const lines =
      '{"metadata":{"v":1,"node":"n","at":1,"n":1},"pattern":"x","data":\r{\r\n"id":\n"evil"\r,\n\n"event":\r\r1}}';
    running.app.get(Hub)['inbound'].receive(lines, Texts.name, Texts.name);
    const expected = [...messages, { id: 'evil', event: 1 }].map(noted);
    for (const stream of streams) expect(await stream.take(expected.length)).toEqual(expected);
    await page.close();
    for (const stream of streams) expect(stream.pending).toEqual([]);
  });

  test('dispatches messages under the name of their class', async () => {
    await using running = await setup(adapter);
    const events = await open(running.page, '/users');
    expect(await events.next()).toEqual(['open', null]);
    void running.messaging.postMessage(Users, new UserUpdate(1, 'Ada'));
    expect(await events.next()).toEqual(['UserUpdate', { id: 1, name: 'Ada' }]);
    await running.page.close();
  });

  test.each([
    ['finite', ['one', 'two\nlines', { three: 3 }]],
    ['empty', []],
  ])('stops for good when a stream is complete: /%s', async (path, messages) => {
    await using running = await setup(adapter);
    const events = await open(running.page, `/${path}`);
    expect(await events.take(messages.length + 2)).toEqual([
      ['open', null],
      ...messages.map((message) => ['message', message]),
      ['messaging:end', {}],
    ]);
    // It reconnects once, learns from the answer that nothing more will come, and closes.
    expect(await events.take(2)).toEqual([
      ['error', CONNECTING],
      ['error', CLOSED],
    ]);
    expect(await requests.next()).toBe(`/${path}`);
    expect(requests.pending).toEqual([]);
    await running.page.close();
  });

  test('stops for good when its sign-in is revoked', async () => {
    await using running = await setup(adapter);
    const events = await open(running.page, '/users');
    expect(await events.next()).toEqual(['open', null]);
    await running.messaging.revokeAuthentication('ada');
    expect(await events.take(3)).toEqual([
      ['messaging:revoked', {}],
      ['error', CONNECTING],
      ['error', CLOSED],
    ]);
    await running.page.close();
  });

  test('comes back with another sign-in when its own has expired, and continues in a channel with history', async () => {
    const lastMs = [2_000, 60_000];
    await using running = await setup(adapter, 20, () => ({
      userId: 'ada',
      expiresAt: Date.now() + (lastMs.shift() ?? 0),
    }));
    const post = async (...numbers: number[]) => {
      for (const number of numbers) await running.messaging.postMessage(Orders, number);
    };
    const events = await openOrders(running.page, post);
    expect(await events.take(2)).toEqual([
      ['messaging:expired', {}],
      ['error', CONNECTING],
    ]);
    await post(3, 4);
    await expectOrdersGoOn(events, post);
    await running.page.close();
  });

  test('outlives a restart of its server, and gets every message of a channel with history once', async () => {
    const broker = new MemoryBroker();
    const start = (port = 0) =>
      startApp(
        {
          imports: [MessagingModule.forRoot({ transport: new MemoryTransport(broker), sse: { retryMs: 20 } })],
          controllers: [Streams],
        },
        { adapter, port },
      );
    await using other = await start();
    const messaging = other.app.get(MessagingService);
    const post = async (...numbers: number[]) => {
      for (const number of numbers) await messaging.postMessage(Orders, number);
    };
    const before = await start();
    const page = await browser.newPage();
    await page.goto(`${before.url}/page`);
    const events = await openOrders(page, post);
    await before.app.close();
    await post(3, 4);
    await using after = await start(Number(new URL(before.url).port));
    expect(after.url).toBe(before.url);
    await expectOrdersGoOn(events, post);
    await page.close();
  });

  test('loses nothing of a channel with history if its server crashes and is started again', async () => {
    await using redis = await RedisServer.start();
    const before = await ServerProcess.startStreams({ redis: redis.url, adapter });
    await using other = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url })] });
    const messaging = other.app.get(MessagingService);
    const post = async (...numbers: number[]) => {
      for (const number of numbers) expect(await messaging.postMessage(StreamedOrders, number)).toBe(true);
    };
    const page = await browser.newPage();
    await page.goto(`${before.url}/page`);
    const events = await openOrders(page, post);
    await before.kill();
    await post(3, 4);
    await using after = await ServerProcess.startStreams({
      redis: redis.url,
      adapter,
      port: Number(new URL(before.url).port),
    });
    expect(after.url).toBe(before.url);
    await expectOrdersGoOn(events, post);
    await page.close();
  });

  test('comes back when a stream breaks', async () => {
    await using running = await setup(adapter);
    const events = await open(running.page, '/breaks');
    expect(await events.take(5)).toEqual([
      ['open', null],
      ['message', 'before'],
      ['error', CONNECTING],
      ['open', null],
      ['message', 'before'],
    ]);
    await running.page.close();
  });

  test('comes back after an error status if the page follows the documentation, but not after the end of the stream', async () => {
    const [, code] = /^```ts\n([^`]*export function keepListening.*?)^```/ms.exec(readFileSync(DOCUMENT, 'utf8'))!;
    const script = await transform(code!.replace('export ', ''), { loader: 'ts' });
    await using running = await setup(adapter, 20, asAda, { maxConnectionsPerUser: 1 });
    const { page, messaging } = running;
    const events = new Queue<string>();
    await page.exposeFunction('note', events.push);
    await page.clock.install();
    await page.addScriptTag({ content: script.code });
    const other = await SseClient.connect(`${running.url}/users`);
    await page.evaluate(() => {
      const { keepListening, note } = globalThis as unknown as {
        keepListening: (url: string, listen: (source: EventSource) => void) => void;
        note: (event: string) => void;
      };
      keepListening('/users', (source) => {
        note('another one');
        for (const type of ['open', 'messaging:revoked']) source.addEventListener(type, () => note(type));
        source.addEventListener('error', () => note(`error ${source.readyState}`));
      });
    });
    expect(await events.take(2)).toEqual(['another one', `error ${CLOSED}`]);
    await page.clock.runFor(2_000);
    expect(await events.take(2)).toEqual(['another one', `error ${CLOSED}`]);

    await other[Symbol.asyncDispose]();
    while (running.app.get(EventStreams, { strict: false }).size > 0) await new Promise(setImmediate);
    await page.clock.runFor(4_000);
    expect(await events.take(2)).toEqual(['another one', 'open']);
    expect(await messaging.revokeAuthentication('ada')).toBe(true);
    expect(await events.take(3)).toEqual(['messaging:revoked', `error ${CONNECTING}`, `error ${CLOSED}`]);
    await page.clock.runFor(120_000);
    expect(events.pending).toEqual([]);
    await page.close();
  });

  test('comes back when the server shuts down and asks it to', async () => {
    const running = await setup(adapter);
    const events = await open(running.page, '/users');
    expect(await events.next()).toEqual(['open', null]);
    await running.app.close();
    expect(await events.take(2)).toEqual([
      ['messaging:drain', {}],
      ['error', CONNECTING],
    ]);
    await running.page.close();
  });
});
