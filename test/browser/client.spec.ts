import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { ChatMessage, Closed, News } from '../support/client-messages.js';
import type { ClientKit } from '../support/client-kit.js';
import { PageProgram, Tab } from '../support/client-programs.js';
import { describeClient } from '../support/client-suite.js';
import { launchChromium } from '../support/chromium.js';

let browser: Browser;
let tab: Tab;
beforeAll(async () => {
  browser = await launchChromium();
  tab = await Tab.open(browser);
}, 60_000);
afterAll(() => browser?.close());

describeClient(
  'in Chromium',
  (proxy) => PageProgram.start(tab, proxy),
  (inWorld) => {
    test(
      'stops waiting once the browser is online again',
      inWorld(async ({ a, proxy, program }) => {
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        await program.run((kit) => void (kit.isTimeStopped = true));
        await program.setOnline(false);
        proxy.cut();
        await program.reaches('waiting');
        await program.setOnline(true);
        await program.reaches('open');
        expect(a.subscriptions).toEqual([['client/rooms/1']]);
      }),
    );

    test(
      'subscribes at a gateway of another origin, by CORS',
      inWorld(async ({ b, program }) => {
        await program.run(async (kit, url) => {
          kit.connect(url);
          await kit.enter(1);
          await kit.enter(2);
        }, `${b.url}/messages`);
        expect(b.subscriptions).toEqual([['client/rooms/1', 'client/rooms/2']]);
      }),
    );

    test(
      'disconnects when its page goes away',
      inWorld(async ({ a, b, program }) => {
        await program.run((kit) => kit.enter(1));
        expect(a.subscriptions).toHaveLength(1);
        await program.leave();
        await a.isEmpty();
        expect(b.subscriptions).toEqual([]);
      }),
    );

    test(
      'gets messages by class name from any server through a native EventSource',
      inWorld(async (world) => {
        const { a, b, proxy, program } = world;
        await program.run(listenNatively, `/messages?channel=${News.name}&channel=client/rooms/1`);
        const isThere = async (): Promise<void> => {
          expect((await program.words.next()).word).toBe('open');
          expect(await program.words.next()).toMatchObject({
            word: 'messaging:ready',
            value: { channels: [{ channel: News.name }, { channel: 'client/rooms/1', error: 'CHANNEL_DENIED' }] },
          });
          await b.messaging.postMessage(News, new ChatMessage('to all'), { global: true });
          expect(await program.words.next()).toEqual({ word: 'client-chat', value: { text: 'to all', details: {} } });
        };
        await isThere();
        proxy.streamsTo = 1;
        proxy.cut();
        expect(await program.words.next()).toEqual({ word: 'error', value: CONNECTING });
        await isThere();
        await a.isEmpty();
        expect(b.subscriptions).toEqual([[News.name]]);
        expect(program.words.pending).toEqual([]);
      }),
    );

    test(
      'does not come back through a native EventSource that may use none of its channels',
      inWorld(async ({ proxy, program }) => {
        await program.run(listenNatively, `/messages?channel=${Closed.name}`);
        expect(await program.words.next()).toEqual({ word: 'error', value: CLOSED });
        expect((await proxy.opened.next()).status).toBe(403);
        expect(proxy.requestCount).toBe(1);
      }),
    );
  },
);

const CONNECTING = 0;
const CLOSED = 2;

function listenNatively({ say }: Pick<ClientKit, 'say'>, url: string): void {
  const source = new EventSource(url);
  for (const type of ['messaging:ready', 'message', 'client-chat']) {
    source.addEventListener(type, ({ data }) => say(type, JSON.parse(data as string)));
  }
  source.addEventListener('open', () => say('open', source.readyState));
  source.addEventListener('error', () => say('error', source.readyState));
}
