import { Controller, Get, Header } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { build } from 'esbuild';
import type { Browser, BrowserContext, Dialog, Page } from 'playwright-core';
import {
  ClientConnectionChanges,
  ClientConnections,
  defineChannel,
  MessagingModule,
  MessagingService,
  type ClientConnectionChange,
  type IncomingRequest,
} from 'nestjs-messaging';
import { Gateway } from '../../lib/gateway/gateway.js';
import { startApp, type TestApp } from '../support/apps.js';
import { launchChromium } from '../support/chromium.js';
import { Queue } from '../support/queue.js';

// Tabs of a real browser that share one connection.

const News = defineChannel('tabs/:name', undefined, { clients: true });
const Kept = defineChannel('kept-tabs/:name', undefined, {
  clients: true,
  history: { maxMessages: 1_000_000, ttlMs: 600_000 },
});

const { outputFiles } = await build({
  stdin: {
    contents: `
      import { MessagingClient, shareAcrossTabs } from './lib/client/index.ts';
      globalThis.start = (name, url = '/messages') => {
        const client = (globalThis.client = new MessagingClient({
          url,
          link: shareAcrossTabs({ name }),
          headers: () => globalThis.signIn?.() ?? {},
          onError: (error) => note('error', String(error)),
        }));
        client.onGap(({ channel, reason }) => note('gap', channel + ' ' + reason));
        client.onStatus(({ state, reason }) => note('status', reason ? state + ' ' + reason : state));
      };
      globalThis.subscribe = async (channel) => {
        try {
          await client.subscribe(channel, (message) => note('message', channel + ' ' + message));
          return 'subscribed';
        } catch (error) {
          return error.code;
        }
      };`,
    resolveDir: process.cwd(),
  },
  bundle: true,
  format: 'iife',
  write: false,
});

@Controller('page')
class PageController {
  /** A page with a frame that may share nothing with others. */
  @Get('framing')
  @Header('content-type', 'text/html')
  framing() {
    return '<!doctype html><title>framing</title><iframe src="/page" sandbox="allow-scripts"></iframe>';
  }

  @Get()
  @Header('content-type', 'text/html')
  page() {
    return `<!doctype html><title>tab</title><script>${outputFiles[0]!.text}</script>`;
  }
}

type Told = readonly [kind: string, text: string];

const textOf = ([kind, text]: Told) => (kind === 'message' ? text : `${kind}: ${text}`);

/** One tab, and the reports of its client. */
class Tab {
  private readonly told = new Queue<Told>();

  private constructor(readonly page: Page) {}

  static async open(context: BrowserContext, url: string, name = ''): Promise<Tab> {
    const tab = new Tab(await context.newPage());
    await tab.page.exposeFunction('note', (kind: string, text: string) => tab.told.push([kind, text]));
    tab.page.on('pageerror', (error) => tab.told.push(['error', String(error)]));
    await tab.page.goto(`${url}/page`);
    await tab.page.evaluate((given) => (globalThis as unknown as { start(name: string): void }).start(given), name);
    return tab;
  }

  subscribe(channel: string): Promise<string> {
    return this.page.evaluate(
      (given) => (globalThis as unknown as { subscribe(channel: string): Promise<string> }).subscribe(given),
      channel,
    );
  }

  async run(code: string): Promise<void> {
    await this.page.evaluate(code);
  }

  /** The next message; skips statuses. Errors are returned unchanged. */
  async message(): Promise<string> {
    return textOf(await this.told.until((told) => told[0] !== 'status'));
  }

  /** The messages before a status. */
  async messagesUntil(status: string): Promise<string[]> {
    const before = await this.told.takeUntil(([kind, text]) => kind === 'status' && text === status);
    return before.filter(([kind]) => kind !== 'status').map(textOf);
  }

  async reaches(status: string): Promise<void> {
    await this.told.until(([kind, text]) => kind === 'status' && text === status);
  }

  get messagesPending(): readonly Told[] {
    return this.told.pending.filter(([kind]) => kind !== 'status');
  }
}

let browser: Browser;
let running: TestApp;
let messaging: MessagingService;
/** The expiry times of the sign-ins that requests have used. */
const signIns = new Queue<number>();
beforeAll(async () => {
  browser = await launchChromium();
  running = await startApp(
    {
      imports: [
        MessagingModule.forRoot({
          gateway: { recoveryBytes: 256 * 1024 * 1024 },
          authenticate: ({ headers }: IncomingRequest) => {
            const expiresAt = Number(headers['x-expires-at']);
            if (!expiresAt) return null;
            signIns.push(expiresAt);
            return { userId: 'ada', expiresAt };
          },
          // More than a fast machine can post before another tab leads.
          sse: { maxBufferedBytes: 256 * 1024 * 1024 },
        }),
      ],
      controllers: [PageController],
    },
    // A sandboxed frame has no origin.
    { configure: (app) => app.enableCors({ origin: true }) },
  );
  messaging = running.app.get(MessagingService);
}, 60_000);
afterAll(async () => {
  await running.app.close();
  await browser.close();
});

const connections = () => running.app.get(Gateway)['connections'].size;
const listeners = (name: string) => running.app.get(Gateway)['feeds'].get(name)?.['feed'].hasReaders === true;
const post = (name: string, message: unknown) => void messaging.postMessage(News.for({ name }), message);
const turn = () => new Promise((resolve) => setImmediate(resolve));

// The browser may close a page before its connection. Tests count connections, so each begins without any.
afterEach(async () => {
  while (connections() > 0) await turn();
});

/** Opens tabs one after another; the first one leads. */
async function openTabs(context: BrowserContext, count: number, channel: string): Promise<Tab[]> {
  const tabs: Tab[] = [];
  for (let index = 0; index < count; index++) {
    const tab = await Tab.open(context, running.url);
    expect(await tab.subscribe(channel)).toBe('subscribed');
    await tab.reaches('open');
    tabs.push(tab);
  }
  return tabs;
}

describe('Tabs that share a connection', () => {
  test('have one connection between them, get their own messages once each, and know its status', async () => {
    await using context = await browser.newContext();
    const [a, b, c, d] = (await openTabs(context, 4, 'tabs/all')) as [Tab, Tab, Tab, Tab];
    expect(await c.subscribe('tabs/third')).toBe('subscribed');
    expect(await d.subscribe('secret')).toBe('CHANNEL_DENIED');
    expect(connections()).toBe(1);

    post('third', 'for c');
    post('all', 'for all');
    expect(await c.message()).toBe('tabs/third for c');
    for (const tab of [a, b, c, d]) expect(await tab.message()).toBe('tabs/all for all');
    post('all', 'again');
    for (const tab of [a, b, c, d]) expect(await tab.message()).toBe('tabs/all again');
  });

  test('get handles for their listeners at once, even if they do not lead', async () => {
    await using context = await browser.newContext();
    const tabs = await openTabs(context, 2, 'tabs/first');
    for (const tab of tabs) {
      await tab.run(`client.listen('tabs/left', (message) => note('message', 'left ' + message)).unsubscribe()`);
      await tab.run(`client.listen('tabs/heard', (message) => note('message', 'heard ' + message)).ready`);
      await tab.run(`void client.listen('secret', () => {})`);
      expect(await tab.message()).toMatch(/^error: ChannelDeniedError: /);
    }
    expect([listeners('tabs/heard'), listeners('tabs/left')]).toEqual([true, false]);
    post('left', 'unheard');
    post('heard', 'now');
    for (const tab of tabs) expect(await tab.message()).toBe('heard now');
  });

  test('all learn when the application ends one of their subscriptions, and continue with the others', async () => {
    await using context = await browser.newContext();
    const tabs = await openTabs(context, 3, 'tabs/lost');
    for (const tab of tabs) expect(await tab.subscribe('tabs/kept')).toBe('subscribed');
    const withdrawing = running.app.get(ClientConnections);
    const { connections: holders } = await withdrawing.list({ channel: 'tabs/lost' });
    expect(holders).toHaveLength(1);
    expect(await withdrawing.unsubscribe(holders[0]!.connection, 'tabs/lost')).toBe(true);
    for (const tab of tabs) expect(await tab.message()).toMatch(/^error: ChannelDeniedError: /);
    post('lost', 'unheard');
    post('kept', 'heard');
    for (const tab of tabs) expect(await tab.message()).toBe('tabs/kept heard');
    expect(await tabs[2]!.subscribe('tabs/lost')).toBe('subscribed');
    post('lost', 'heard again');
    expect(await tabs[2]!.message()).toBe('tabs/lost heard again');
  });

  test('continue over one new connection when the leading tab is closed, and get nothing twice', async () => {
    await using context = await browser.newContext();
    const [leader, ...others] = (await openTabs(context, 4, 'tabs/takeover')) as [Tab, Tab, Tab, Tab];
    expect(await others[1].subscribe('tabs/second')).toBe('subscribed');
    // Then each of them knows its position in both channels.
    post('second', 'here');
    post('takeover', 'here');
    expect(await others[1].message()).toBe('tabs/second here');
    for (const tab of others) expect(await tab.message()).toBe('tabs/takeover here');
    const changes = new Queue<ClientConnectionChange>();
    using listening = messaging.addListener(ClientConnectionChanges, changes.push);
    await listening.ready;

    await leader.page.close();
    // The browser may let the lock go before the connection.
    const kinds = (await changes.take(2)).map(({ kind }) => kind);
    expect(kinds.toSorted()).toEqual(['connected', 'disconnected']);
    while (!listeners('tabs/takeover') || !listeners('tabs/second')) await turn();
    expect(connections()).toBe(1);

    post('takeover', 1);
    post('second', 'second');
    post('takeover', 2);
    expect(await others[0].message()).toBe('tabs/takeover 1');
    expect(await others[0].message()).toBe('tabs/takeover 2');
    expect(await others[1].message()).toBe('tabs/takeover 1');
    expect(await others[1].message()).toBe('tabs/second second');
    expect(await others[1].message()).toBe('tabs/takeover 2');
    expect(await others[2].message()).toBe('tabs/takeover 1');
    expect(await others[2].message()).toBe('tabs/takeover 2');
    expect(others.flatMap((tab) => tab.messagesPending)).toEqual([]);
  });

  test.each([
    ['', News],
    [' on a channel with history', Kept],
  ])('miss and double no message%s while the leading tab is closed', async (_kind, template) => {
    const channel = template.for({ name: 'flow' });
    const flow = (message: unknown) => void messaging.postMessage(channel, message);
    await using context = await browser.newContext();
    const tabs = await openTabs(context, 4, channel.name);
    let last = 0;
    while (tabs.length > 1) {
      const changes = new Queue<ClientConnectionChange>();
      using listening = messaging.addListener(ClientConnectionChanges, changes.push);
      await listening.ready;
      void tabs.shift()!.page.close();
      // Until the next one leads: one message in each turn of the event loop.
      while (!changes.pending.some(({ kind }) => kind === 'connected')) {
        flow(++last);
        await turn();
      }
    }
    flow('end');
    const [tab] = tabs as [Tab];
    const got: string[] = [];
    while (got.at(-1) !== `${channel.name} end`) got.push(await tab.message());
    expect(got).toEqual([
      ...Array.from({ length: last }, (_, index) => `${channel.name} ${index + 1}`),
      `${channel.name} end`,
    ]);
  });

  test('that were put aside get missed messages when they are shown again, if no other tab has received them', async () => {
    await using context = await browser.newContext();
    const [tab] = (await openTabs(context, 1, 'tabs/aside')) as [Tab];
    post('aside', 'before');
    expect(await tab.message()).toBe('tabs/aside before');
    await tab.run("dispatchEvent(new Event('pagehide'))");
    while (connections() > 0) await turn();
    post('aside', 'meanwhile');
    await tab.run("dispatchEvent(new Event('pageshow'))");
    expect(await tab.message()).toBe('tabs/aside meanwhile');
    post('aside', 'after');
    expect(await tab.message()).toBe('tabs/aside after');
  });

  test('that were put aside while other tabs continued learn of a gap if messages are missing', async () => {
    await using context = await browser.newContext();
    const [other, tab] = (await openTabs(context, 2, 'tabs/behind')) as [Tab, Tab];
    const hide = () => tab.run("dispatchEvent(new Event('pagehide'))");
    const show = () => tab.run("dispatchEvent(new Event('pageshow'))");
    post('behind', 'before');
    for (const each of [other, tab]) expect(await each.message()).toBe('tabs/behind before');
    await hide();
    await show();
    await tab.reaches('open');
    post('behind', 'nothing was missed');
    for (const each of [other, tab]) expect(await each.message()).toBe('tabs/behind nothing was missed');
    await hide();
    post('behind', 'missed');
    expect(await other.message()).toBe('tabs/behind missed');
    await show();
    expect(await tab.message()).toBe('gap: tabs/behind trimmed');
    post('behind', 'after');
    for (const each of [other, tab]) expect(await each.message()).toBe('tabs/behind after');
  });

  test('that were put aside and are shown again while messages flow learn of each loss before the next message', async () => {
    await using context = await browser.newContext();
    const [, tab] = (await openTabs(context, 2, 'tabs/flowing')) as [Tab, Tab];
    let last = 0;
    const stop = new AbortController();
    const flowing = (async () => {
      while (!stop.signal.aborted) {
        post('flowing', ++last);
        await turn();
      }
    })();
    const got: string[] = [];
    for (let times = 0; times < 10; times++) {
      await tab.run("dispatchEvent(new Event('pagehide'))");
      await tab.run("dispatchEvent(new Event('pageshow'))");
      got.push(...(await tab.messagesUntil('open')));
    }
    stop.abort();
    await flowing;
    post('flowing', 'end');
    while (got.at(-1) !== 'tabs/flowing end') got.push(await tab.message());
    let read = 0;
    let isTold = false;
    const untold: string[] = [];
    for (const text of got.slice(0, -1)) {
      if (text === 'gap: tabs/flowing trimmed') {
        isTold = true;
        continue;
      }
      const number = Number(text.slice('tabs/flowing '.length));
      if (number !== read + 1 && !(isTold && number > read)) untold.push(`${read}, then ${number}`);
      read = number;
      isTold = false;
    }
    expect(untold).toEqual([]);
    expect(read === last || isTold).toBe(true);
  });

  test('continue when the client of the leading tab is closed but its page stays open', async () => {
    await using context = await browser.newContext();
    const [leader, other] = (await openTabs(context, 2, 'tabs/closed')) as [Tab, Tab];
    await leader.run('client.close()');
    await leader.reaches('closed close');
    await other.reaches('connecting');
    await other.reaches('open');
    post('closed', 'still here');
    expect(await other.message()).toBe('tabs/closed still here');
    // The browser may let the lock go before the connection.
    while (connections() !== 1) await turn();
  });

  test('leave channels on the server that only a closed tab needed', async () => {
    await using context = await browser.newContext();
    const [, other] = (await openTabs(context, 2, 'tabs/kept')) as [Tab, Tab];
    await other.subscribe('tabs/only-there');
    expect(listeners('tabs/only-there')).toBe(true);
    await other.page.close();
    while (listeners('tabs/only-there')) await turn();
    expect(listeners('tabs/kept')).toBe(true);
  });

  test('that take over request no channel that all tabs have left', async () => {
    await using context = await browser.newContext();
    const [leader, other] = (await openTabs(context, 2, 'tabs/stays')) as [Tab, Tab];
    await other.subscribe('tabs/goes');
    await other.run("client.unsubscribe('tabs/goes')");
    while (listeners('tabs/goes')) await turn();
    await leader.page.close();
    await other.reaches('connecting');
    await other.reaches('open');
    while (connections() !== 1) await turn();
    const [connection] = running.app.get(Gateway)['connections'].values();
    expect(connection!.names).toEqual(['tabs/stays']);
  });

  test('all learn when the server ends the connection for good', async () => {
    await using context = await browser.newContext();
    const tabs = await openTabs(context, 3, 'tabs/ended');
    for (const { session } of running.app.get(Gateway)['connections'].values()) session.end('revoked');
    for (const tab of tabs) await tab.reaches('closed revoked');
    while (connections() > 0) await turn();
    expect(tabs.flatMap((tab) => tab.messagesPending)).toEqual([]);
  });

  test('keep their connection while the leading tab renews its sign-in', async () => {
    await using context = await browser.newContext();
    const [leader, other] = [await Tab.open(context, running.url), await Tab.open(context, running.url)];
    await leader.run(`signIn = () => ({ 'x-expires-at': String(Date.now() + 1_600) })`);
    for (const tab of [leader, other]) {
      expect(await tab.subscribe('tabs/renewed')).toBe('subscribed');
      await tab.reaches('open');
    }
    const [connection] = running.app.get(Gateway)['connections'].keys();
    // Each comes after a third of the time of the one before, or later.
    const [first] = await signIns.take(5);
    expect(Date.now()).toBeGreaterThan(first!);
    post('renewed', 'on');
    for (const tab of [leader, other]) expect(await tab.message()).toBe('tabs/renewed on');
    expect([...running.app.get(Gateway)['connections'].keys()]).toEqual([connection]);
  });

  test('with different names have a connection each', async () => {
    await using context = await browser.newContext();
    const ada = await Tab.open(context, running.url, 'ada');
    const bob = await Tab.open(context, running.url, 'bob');
    await ada.subscribe('tabs/names');
    await bob.subscribe('tabs/names');
    expect(connections()).toBe(2);
  });

  test('whose URL is invalid get an error', async () => {
    await using context = await browser.newContext();
    const tab = await Tab.open(context, running.url);
    await tab.run("client.close(); start('wrong', 'http://[')");
    expect(await tab.subscribe('tabs/wrong')).toBe('CONFIGURATION');
    await tab.reaches('closed misconfigured');
    expect(tab.messagesPending).toEqual([]);
  });

  test('follow another tab if the leader is frozen; when the leader thaws, it follows too and learns of its gap', async () => {
    await using context = await browser.newContext();
    const [leader, other] = (await openTabs(context, 2, 'tabs/frozen')) as [Tab, Tab];
    post('frozen', 'before');
    for (const tab of [leader, other]) expect(await tab.message()).toBe('tabs/frozen before');
    // A dialog stops a page until a user closes it.
    const opened = new Promise<Dialog>((resolve) => leader.page.once('dialog', resolve));
    const stopped = leader.run("alert('stopped')");
    const dialog = await opened;
    await other.reaches('connecting');
    await other.reaches('open');
    post('frozen', 'meanwhile');
    expect(await other.message()).toBe('tabs/frozen meanwhile');
    await dialog.accept();
    await stopped;
    while (connections() !== 1) await turn();
    expect(['tabs/frozen meanwhile', 'gap: tabs/frozen trimmed']).toContain(await leader.message());
    post('frozen', 'after');
    for (const tab of [leader, other]) expect(await tab.message()).toBe('tabs/frozen after');
  });

  test('in a frame that may not share have a connection of their own', async () => {
    await using context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${running.url}/page/framing`);
    const frame = page.frames()[1]!;
    await frame.waitForFunction('globalThis.start');
    await frame.evaluate(
      `globalThis.note = (kind, text) => (globalThis.told ??= []).push(kind + ' ' + text); start('', '${running.url}/messages')`,
    );
    expect(await frame.evaluate("subscribe('tabs/framed')")).toBe('subscribed');
    expect(connections()).toBe(1);
    post('framed', 'hello');
    await frame.waitForFunction("told.includes('message tabs/framed hello')");
    await frame.evaluate("dispatchEvent(new Event('pagehide')); dispatchEvent(new Event('pageshow'))");
    post('framed', 'again');
    await frame.waitForFunction("told.includes('message tabs/framed again')");
    expect(connections()).toBe(1);
    await frame.evaluate('client.close()');
    while (connections() > 0) await turn();
  });

  test('that were put aside get the messages that only they needed, even if another tab leads', async () => {
    await using context = await browser.newContext();
    const [, tab] = (await openTabs(context, 2, 'tabs/both')) as [Tab, Tab];
    expect(await tab.subscribe('tabs/alone')).toBe('subscribed');
    post('alone', 'before');
    expect(await tab.message()).toBe('tabs/alone before');
    await tab.run("dispatchEvent(new Event('pagehide'))");
    while (listeners('tabs/alone')) await turn();
    post('alone', 'missed');
    await tab.run("dispatchEvent(new Event('pageshow'))");
    expect(await tab.message()).toBe('tabs/alone missed');
  });

  test('that are reloaded come back', async () => {
    await using context = await browser.newContext();
    const [leader, other] = (await openTabs(context, 2, 'tabs/reloaded')) as [Tab, Tab];
    await leader.page.reload();
    await leader.run("start('')");
    expect(await leader.subscribe('tabs/reloaded')).toBe('subscribed');
    while (connections() !== 1 || !listeners('tabs/reloaded')) await turn();
    post('reloaded', 'hello');
    expect(await leader.message()).toBe('tabs/reloaded hello');
    expect(await other.message()).toBe('tabs/reloaded hello');
  });
});
