import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from 'playwright-core';
import { MessagingService } from 'nestjs-messaging';
import { createApp } from '../../sample-app/app.js';
import { ChatMessage, RoomMessages } from '../../sample-app/rooms/rooms.messages.js';
import { Settings } from '../../sample-app/settings.js';
import { launchChromium } from '../support/chromium.js';
import { RedisServer } from '../support/redis-server.js';
import { TcpProxy } from 'nestjs-messaging/testing';

let browser: Browser;
let pageFolder: string;
const running: NestExpressApplication[] = [];
/** The errors of pages: none, at the end of each test. */
const complaints: string[] = [];

beforeAll(async () => {
  pageFolder = mkdtempSync(join(tmpdir(), 'page-'));
  execFileSync(process.execPath, ['sample-app/bundle.mjs', pageFolder]);
  browser = await launchChromium();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  rmSync(pageFolder, { recursive: true });
});

afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  await Promise.all(running.splice(0).map((app) => app.close()));
  if (complaints.length > 0) throw new Error(complaints.splice(0).join('\n'));
});

async function start(settings = new Settings(), port = 0): Promise<NestExpressApplication> {
  const app = await createApp(settings);
  running.push(app);
  app.useStaticAssets(pageFolder);
  await app.listen(port, '127.0.0.1');
  return app;
}

async function stop(app: NestExpressApplication): Promise<void> {
  running.splice(running.indexOf(app), 1);
  await app.close();
}

/** A separate browser. */
async function newContext(options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const context = await browser.newContext(options);
  context.on('weberror', (event) => complaints.push(String(event.error())));
  context.on('console', (line) => line.type() === 'error' && !isOfBrowser(line.text()) && complaints.push(line.text()));
  return context;
}

/** Opens the page and signs in. */
async function signIn(at: NestExpressApplication | string, name: string, context?: BrowserContext): Promise<Page> {
  const page = await (context ?? (await newContext())).newPage();
  await page.goto(typeof at === 'string' ? at : await at.getUrl());
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await isLive(page);
  return page;
}

/** Chromium logs each failed request, even expected ones. */
function isOfBrowser(line: string): boolean {
  return line.startsWith('Failed to load resource');
}

function isLive(page: Page): Promise<void> {
  return page.getByRole('status').getByText('Live').waitFor();
}

/** Opens an address as from a link in a mail. A browser would not load the page if only the part after # changed. */
async function openAnew(page: Page, url: string): Promise<void> {
  await page.goto('about:blank');
  await page.goto(url);
  await isLive(page);
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

/** Resolves once the text is among the messages of the room. */
function hears(page: Page, text: string): Promise<void> {
  return page.getByRole('log').getByText(text, { exact: true }).waitFor();
}

/** Resolves once this news is shown between the messages. */
function isTold(page: Page, news: string): Promise<void> {
  return page.getByRole('log').getByRole('listitem').filter({ hasText: news }).waitFor();
}

/** The lines of the room, without messages, arrivals and departures. */
async function notes(page: Page): Promise<string[]> {
  const lines = page.getByRole('log').locator('.up-to-date, .gap');
  return (await lines.allTextContents()).map((line) => line.replace(/ [^ ]*\d:\d.*$/, ''));
}

function deferred(): [promise: Promise<void>, resolve: () => void] {
  let resolve!: () => void;
  return [new Promise<void>((settle) => (resolve = settle)), () => resolve()];
}

/** The input for the next message. */
const draft = (page: Page) => page.getByLabel('Message', { exact: true });

async function openPrivateRoom(page: Page, name: string): Promise<void> {
  await page.getByLabel('Name of a new room').fill(name);
  await page.getByLabel('Private').check();
  await page.getByRole('button', { name: 'Create the room' }).click();
  await page.getByRole('heading', { name }).waitFor();
}

type Box = NonNullable<Awaited<ReturnType<Locator['boundingBox']>>>;

async function boxOf(locator: Locator): Promise<Box> {
  await locator.waitFor();
  return (await locator.boundingBox())!;
}

function areApart(one: Box, other: Box): boolean {
  const isBeside = one.x + one.width <= other.x || other.x + other.width <= one.x;
  return isBeside || one.y + one.height <= other.y || other.y + other.height <= one.y;
}

const people = (page: Page) => page.getByRole('complementary', { name: 'People' }).getByRole('listitem');
const room = (page: Page, name: string) => page.getByRole('link', { name });
const reaction = (page: Page, text: string, name: string) =>
  page.getByRole('listitem').filter({ hasText: text }).getByRole('button', { name });

describe('the page of the sample app', () => {
  test('two people talk, and each sees the other type and set a status', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    await isTold(ada, 'Grace came in');
    await say(ada, 'Is this <b>bold</b>?');
    await hears(grace, 'Is this <b>bold</b>?');
    expect(await grace.getByRole('log').locator('b').count()).toBe(0);
    // While Grace writes it, and no longer once she has sent it.
    await grace.getByLabel('Message', { exact: true }).pressSequentially('No, I');
    await ada.getByText('Grace is writing: No, I', { exact: true }).waitFor();
    await grace.getByLabel('Message', { exact: true }).pressSequentially(' think');
    await ada.getByText('Grace is writing: No, I think', { exact: true }).waitFor();
    await grace.getByRole('button', { name: 'Send' }).click();
    await hears(ada, 'No, I think');
    await ada.getByText('Grace is writing').waitFor({ state: 'detached' });
    await grace.getByLabel('Your status').fill('Hunting bugs');
    await grace.getByRole('button', { name: 'Set' }).click();
    await people(ada).filter({ hasText: 'Grace' }).getByText('Hunting bugs').waitFor();
    // Once, not once as the answer and once from the stream.
    expect(await grace.getByRole('log').getByText('No, I think', { exact: true }).count()).toBe(1);
  }, 60_000);

  test('shows that somebody is writing five times a second, not with each letter', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    const told: unknown[] = [];
    grace.on('request', (request) => request.url().endsWith('/typing') && told.push(request.postDataJSON()));
    await grace.clock.install();
    await grace.clock.pauseAt(new Date(Date.now() + 60_000));
    // A draft is shown for some seconds only, so somebody has to look before it comes.
    const first = ada.getByText('Grace is writing: H', { exact: true }).waitFor();
    await grace.getByLabel('Message', { exact: true }).pressSequentially('Hello');
    await first;
    await grace.clock.runFor(199);
    await grace.getByLabel('Message', { exact: true }).press('!');
    expect(told).toEqual([{ text: 'H' }]);
    const second = ada.getByText('Grace is writing: Hello!', { exact: true }).waitFor();
    await grace.clock.runFor(1);
    await second;
    expect(told).toEqual([{ text: 'H' }, { text: 'Hello!' }]);
  }, 60_000);

  test('a reaction is seen by everybody, even by later visitors, and can be taken back', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    await say(ada, 'It works');
    await hears(grace, 'It works');
    await reaction(grace, 'It works', 'Hooray, 0').focus();
    await grace.keyboard.press('Enter');
    await reaction(ada, 'It works', 'Hooray, 1').click();
    await reaction(grace, 'It works', 'Hooray, 2').waitFor();
    // The focus has not moved.
    await grace.keyboard.press('Enter');
    await reaction(ada, 'It works', 'Hooray, 1').waitFor();
    expect(await reaction(ada, 'It works', 'Hooray, 1').getAttribute('aria-pressed')).toBe('true');
    const lin = await signIn(app, 'Lin');
    await reaction(lin, 'It works', 'Hooray, 1').waitFor();
    expect(await reaction(lin, 'It works', 'Hooray, 1').getAttribute('aria-pressed')).toBe('false');
  }, 60_000);

  test('a private room is visible to its members only', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    const lin = await signIn(app, 'Lin');
    await ada.getByLabel('Name of a new room').fill('Birthday');
    await ada.getByLabel('Private').check();
    await ada.getByRole('button', { name: 'Create the room' }).click();
    await ada.getByRole('heading', { name: 'Birthday' }).waitFor();
    await say(ada, 'Shall we bake a cake?');
    // People in the room can be picked.
    for (const name of ['Grace', 'Lin'])
      await ada.locator(`#present option[value="${name}"]`).waitFor({ state: 'attached' });
    expect(await ada.locator('#present option').count()).toBe(2);
    await ada.getByLabel('Invite somebody').fill('Grace');
    await ada.getByRole('button', { name: 'Invite' }).click();
    await isTold(ada, 'Ada invited Grace');
    await room(grace, 'Birthday').click();
    await hears(grace, 'Shall we bake a cake?');
    expect(await grace.getByLabel('Invite somebody').isVisible()).toBe(false);
    await grace.getByLabel('Message', { exact: true }).pressSequentially('Yes');
    await ada.getByText('Grace is writing: Yes').waitFor();
    await grace.keyboard.press('Enter');
    await hears(ada, 'Yes');

    // A browser with only the address is in no room. A message in the lobby arrives after everything in the room.
    await openAnew(lin, ada.url());
    await lin.getByRole('heading', { name: 'No such room' }).waitFor();
    expect(await lin.getByLabel('Message', { exact: true }).isEditable()).toBe(false);
    await room(lin, 'Lobby').click();
    await room(grace, 'Lobby').click();
    await say(grace, 'Hello Lin');
    await hears(lin, 'Hello Lin');
    expect(await lin.getByRole('navigation').getByRole('listitem').allTextContents()).toEqual(['Lobby', 'Ideas']);
    expect(await lin.getByText('cake').count()).toBe(0);
  }, 60_000);

  test('a new room appears for everybody, and its messages are counted until they are read', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    await grace.getByLabel('Name of a new room').fill('Coffee & cake');
    await grace.getByRole('button', { name: 'Create the room' }).click();
    await grace.getByRole('heading', { name: 'Coffee & cake' }).waitFor();
    await isTold(ada, 'Grace opened the room Coffee & cake');
    await say(grace, 'First!');
    await room(ada, 'Coffee & cake').getByLabel('1 new').waitFor();
    await room(ada, 'Coffee & cake').click();
    await hears(ada, 'First!');
    await room(ada, 'Coffee & cake').getByLabel('1 new').waitFor({ state: 'detached' });
    // Opening the address of the room enters it.
    const lin = await signIn(app, 'Lin');
    await openAnew(lin, ada.url());
    await hears(lin, 'First!');
    expect(await lin.getByRole('heading', { level: 1 }).textContent()).toBe('Coffee & cake');
  }, 60_000);

  test('changes while a page loads the current state are not undone by the older answer', async () => {
    const app = await start();
    const context = await newContext();
    const [asked, isAsked] = deferred();
    const [released, release] = deferred();
    await context.route('**/people', async (route) => {
      const response = await route.fetch();
      isAsked();
      await released;
      await route.fulfill({ response });
    });
    const ada = await signIn(app, 'Ada', context);
    await asked;
    await signIn(app, 'Grace');
    await isTold(ada, 'Grace came in');
    release();
    // Only the answer contains the user herself.
    await people(ada).filter({ hasText: 'Ada' }).waitFor();
    await people(ada).filter({ hasText: 'Grace' }).waitFor();
    expect(await people(ada).count()).toBe(2);
  }, 60_000);

  test('a page that comes back gets the messages that it missed, in every room, and learns that it is up to date', async () => {
    const app = await start();
    await using tunnel = await TcpProxy.start(Number(new URL(await app.getUrl()).port));
    const ada = await signIn(`http://127.0.0.1:${tunnel.port}`, 'Ada');
    const grace = await signIn(app, 'Grace');
    await say(grace, 'Before the tunnel');
    await hears(ada, 'Before the tunnel');
    tunnel.mode = 'refuse';
    tunnel.cut();
    await ada.getByText('Reconnecting').waitFor();
    for (const text of ['One', 'Two', 'Three']) await say(grace, text);
    await hears(grace, 'Three');
    await reaction(grace, 'Before the tunnel', 'Heart, 0').click();
    await room(grace, 'Ideas').click();
    await grace.getByRole('heading', { name: 'Ideas' }).waitFor();
    await say(grace, 'Seat reservations');
    await hears(grace, 'Seat reservations');
    tunnel.mode = 'pass';
    await isLive(ada);
    await isTold(ada, 'You are up to date: 3 messages came meanwhile');
    const said = ada.getByRole('log').locator('.text');
    expect(await said.allTextContents()).toEqual(['Before the tunnel', 'One', 'Two', 'Three']);
    await reaction(ada, 'Before the tunnel', 'Heart, 1').waitFor();
    await room(ada, 'Ideas').getByLabel('1 new').waitFor();
    // Reported once, when all of it is there, however much it is. Later it is shown in its place.
    tunnel.cut();
    await isTold(ada, 'You are up to date: nothing was said meanwhile');
    tunnel.mode = 'refuse';
    tunnel.cut();
    await ada.getByText('Reconnecting').waitFor();
    const messaging = app.get(MessagingService);
    const lobby = RoomMessages.for({ roomId: 'lobby' });
    for (let count = 0; count < 600; count++)
      await messaging.postMessage(lobby, new ChatMessage('grace', 'Grace', 'x'));
    tunnel.mode = 'pass';
    await isTold(ada, 'You are up to date: 600 messages came meanwhile');
    expect(await notes(ada)).toEqual(['You are up to date: 600 messages came meanwhile']);
  }, 60_000);

  test('without Redis a restart loses messages; the page keeps its own and marks possible gaps', async () => {
    const settings = new Settings({ sessionSecret: 'the same after the restart' });
    const app = await start(settings);
    const port = Number(new URL(await app.getUrl()).port);
    const ada = await signIn(app, 'Ada');
    await say(ada, 'Before the restart');
    await hears(ada, 'Before the restart');
    await stop(app);
    await ada.getByText('Reconnecting in').waitFor();
    const again = await start(settings, port);
    await isLive(ada);
    await isTold(ada, 'Messages may be missing here: the server has forgotten what was said before');
    await say(ada, 'After the restart');
    await hears(ada, 'After the restart');
    expect(await ada.getByRole('log').locator('.text').allTextContents()).toEqual([
      'Before the restart',
      'After the restart',
    ]);
    expect(await notes(ada)).toHaveLength(1);
    const grace = await signIn(again, 'Grace');
    await hears(grace, 'After the restart');
    expect(await grace.getByRole('log').locator('.text').allTextContents()).toEqual(['After the restart']);
    expect(await notes(grace)).toEqual([]);
  }, 60_000);

  test('a visitor sees the last 50 messages of a room, then new ones', async () => {
    const app = await start();
    const ada = await signIn(app, 'Ada');
    for (let count = 1; count <= 51; count++) {
      await say(ada, `Message ${count}`);
      await hears(ada, `Message ${count}`);
    }
    const grace = await signIn(app, 'Grace');
    await hears(grace, 'Message 51');
    const said = grace.getByRole('log').locator('.text');
    expect((await said.allTextContents()).length).toBe(50);
    expect(await said.first().textContent()).toBe('Message 2');
    await say(ada, 'One more');
    await hears(grace, 'One more');
  }, 60_000);

  test('signing out ends the streams of all tabs of this sign-in, and each of them reports it', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    const otherTab = await ada.context().newPage();
    await otherTab.goto(await app.getUrl());
    await isLive(otherTab);
    await ada.getByRole('button', { name: 'Sign out' }).click();
    for (const tab of [ada, otherTab]) await tab.getByText('You are signed out.').waitFor();
    await isTold(grace, 'Ada left');
    await people(grace).filter({ hasText: 'Ada' }).waitFor({ state: 'detached' });
    await otherTab.reload();
    await otherTab.getByLabel('Your name').waitFor();
    expect(await ada.context().cookies()).toEqual([]);
  }, 60_000);

  test('explains why a name was refused', async () => {
    const app = await start();
    await signIn(app, 'Ada');
    const page = await (await newContext()).newPage();
    await page.goto(await app.getUrl());
    await page.getByLabel('Your name').fill('ada');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').waitFor();
    expect(await page.getByRole('alert').textContent()).toBe('ada is here already. Please choose another name.');
  }, 60_000);

  test('a draft belongs to its room, and is nobody else’s', async () => {
    const app = await start();
    const ada = await signIn(app, 'Ada');
    await draft(ada).fill('For the lobby');
    await room(ada, 'Ideas').click();
    await ada.getByRole('heading', { name: 'Ideas' }).waitFor();
    expect(await draft(ada).inputValue()).toBe('');
    await draft(ada).fill('An idea');
    await room(ada, 'Lobby').click();
    await ada.getByRole('heading', { name: 'Lobby' }).waitFor();
    expect(await draft(ada).inputValue()).toBe('For the lobby');
    await ada.reload();
    await ada.getByRole('heading', { name: 'Lobby' }).waitFor();
    expect(await draft(ada).inputValue()).toBe('For the lobby');
    await ada.keyboard.press('Enter');
    await hears(ada, 'For the lobby');
    await room(ada, 'Ideas').click();
    await ada.getByRole('heading', { name: 'Ideas' }).waitFor();
    expect(await draft(ada).inputValue()).toBe('An idea');

    await ada.getByRole('button', { name: 'Sign out' }).click();
    await ada.getByLabel('Your name').fill('Grace');
    await ada.getByRole('button', { name: 'Sign in' }).click();
    await ada.getByRole('heading', { name: 'Ideas' }).waitFor();
    expect(await draft(ada).inputValue()).toBe('');
  }, 60_000);

  test('the draft of a room that a restart has lost stays with the room, and is shown as not sent', async () => {
    const settings = new Settings({ sessionSecret: 'the same after the restart' });
    const app = await start(settings);
    const port = Number(new URL(await app.getUrl()).port);
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    await openPrivateRoom(ada, 'Birthday');
    await say(ada, 'Nobody else reads this');
    await hears(ada, 'Nobody else reads this');
    await draft(ada).fill('A boat for Grace');
    await stop(app);
    await ada.getByText('Reconnecting in').waitFor();
    await start(settings, port);
    for (const page of [ada, grace]) await isLive(page);

    await ada.getByText('What you wrote is not sent.').waitFor();
    expect(await ada.getByRole('heading', { level: 1 }).textContent()).toBe('Birthday');
    expect(await draft(ada).inputValue()).toBe('A boat for Grace');
    await draft(ada).press('Enter');
    expect(await ada.getByRole('button', { name: 'Send' }).isDisabled()).toBe(true);
    expect(await draft(ada).inputValue()).toBe('A boat for Grace');

    await room(ada, 'Lobby').click();
    await ada.getByRole('heading', { name: 'Lobby' }).waitFor();
    expect(await draft(ada).inputValue()).toBe('');
    await say(ada, 'I am back');
    await hears(grace, 'I am back');
    expect(await grace.getByText('boat').count()).toBe(0);
    // After a reload too, until it is discarded.
    await ada.reload();
    await ada.getByRole('link', { name: 'Birthday not sent' }).click();
    await ada.getByText('What you wrote is not sent.').waitFor();
    expect(await draft(ada).inputValue()).toBe('A boat for Grace');
    await draft(ada).fill('');
    await ada.getByRole('link', { name: 'Birthday' }).waitFor({ state: 'detached' });
  }, 60_000);

  test('a page that finds no server says so until a server answers', async () => {
    const settings = new Settings({ sessionSecret: 'the same after the restart' });
    const app = await start(settings);
    const port = Number(new URL(await app.getUrl()).port);
    const ada = await signIn(app, 'Ada');
    const stranger = await (await newContext()).newPage();
    await stranger.goto(await app.getUrl());
    await stranger.getByLabel('Your name').fill('Grace');
    await stop(app);
    await say(ada, 'Is anybody there?');
    await stranger.getByRole('button', { name: 'Sign in' }).click();
    for (const page of [ada, stranger]) await page.getByText('The server cannot be reached').waitFor();
    await start(settings, port);
    await isLive(ada);
    for (const page of [ada, stranger])
      await page.getByText('The server cannot be reached').waitFor({ state: 'hidden' });
    // Nothing was sent without its author.
    expect(await draft(ada).inputValue()).toBe('Is anybody there?');
    await draft(ada).press('Enter');
    await hears(ada, 'Is anybody there?');
  }, 60_000);

  test('a page that is opened while its requests reach no server works as soon as they do', async () => {
    const app = await start();
    const context = await newContext();
    const ada = await signIn(app, 'Ada', context);
    await context.route('**/me', (route) => route.fulfill({ status: 502, body: 'Bad gateway' }), { times: 1 });
    await ada.reload();
    await isLive(ada);
    expect(await ada.getByLabel('Your name').isVisible()).toBe(false);
  }, 60_000);

  test.each([
    ['a desktop', { viewport: { width: 1280, height: 720 } }],
    ['a narrow window', { viewport: { width: 390, height: 844 } }],
    ['a phone', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
    ['a small phone', { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true }],
  ])(
    'on %s no element covers another or lies out of sight',
    async (_device, options) => {
      const app = await start();
      const ada = await signIn(app, 'Ada', await newContext(options));
      for (const name of ['Coffee & cake', 'Gardening', 'Holidays']) {
        await ada.getByLabel('Name of a new room').fill(name);
        await ada.getByRole('button', { name: 'Create the room' }).click();
        await ada.getByRole('heading', { name }).waitFor();
      }
      await say(ada, 'Ok');
      const message = ada.getByRole('listitem').filter({ hasText: 'Ok' });
      await message.hover();
      const bar = await boxOf(message.getByRole('button', { name: 'Heart' }).locator('..'));
      for (const part of [
        message.getByText('Ada', { exact: true }),
        message.locator('time'),
        message.getByText('Ok'),
      ]) {
        expect(areApart(bar, await boxOf(part))).toBe(true);
      }
      const { width, height } = options.viewport;
      const controls = [
        ada.getByLabel('Name of a new room'),
        ada.getByRole('button', { name: 'Create the room' }),
        ada.getByText('Private'),
        ada.getByLabel('Private'),
        ada.getByRole('status'),
        ada.getByRole('button', { name: 'Send' }),
      ];
      for (const control of controls) {
        const box = await boxOf(control);
        expect(box.x >= 0 && box.x + box.width <= width && box.y >= 0 && box.y + box.height <= height).toBe(true);
      }
      expect(await ada.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
    },
    60_000,
  );

  test('fits on a phone', async () => {
    const app = await start();
    const phone = await newContext({ viewport: { width: 360, height: 640 }, colorScheme: 'dark' });
    const ada = await signIn(app, 'Ada', phone);
    expect(await ada.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
    await people(ada).filter({ hasText: 'Ada' }).waitFor({ state: 'hidden' });
    await ada.getByRole('button', { name: '1 online' }).click();
    await people(ada).filter({ hasText: 'Ada' }).waitFor();
    await ada.keyboard.press('Escape');
    await people(ada).filter({ hasText: 'Ada' }).waitFor({ state: 'hidden' });
  }, 60_000);

  test('pages of two servers with a Redis between them show the same, even after one server has restarted', async () => {
    await using redis = await RedisServer.start();
    const settings = (serverName: string) =>
      new Settings({ serverName, redisUrl: redis.url, sessionSecret: 'shared by both' });
    const [one, two] = [await start(settings('one')), await start(settings('two'))];
    const [ada, grace] = [await signIn(one, 'Ada'), await signIn(two, 'Grace')];
    await ada.getByText('Live on server one').waitFor();
    await grace.getByText('Live on server two').waitFor();
    await isTold(ada, 'Grace came in');
    await say(ada, 'Hello from one');
    await hears(grace, 'Hello from one');
    await say(grace, 'Hello from two');
    await hears(ada, 'Hello from two');

    const port = Number(new URL(await one.getUrl()).port);
    await stop(one);
    await ada.getByText('Reconnecting in').waitFor();
    await isTold(grace, 'Ada left');
    await say(grace, 'While you were away');
    await start(settings('one'), port);
    await ada.getByText('Live on server one').waitFor();
    await hears(ada, 'While you were away');
    await isTold(ada, 'You are up to date: 1 message came meanwhile');
    await people(ada).filter({ hasText: 'Grace' }).waitFor();
    await say(ada, 'Back again');
    await hears(grace, 'Back again');
    // The page did not show old messages twice.
    expect(await ada.getByRole('log').getByText('Hello from two').count()).toBe(1);
    // Cut off from each other, each page reports it. A silent user has not left.
    await redis.stop();
    for (const page of [ada, grace]) await page.getByText('Cut off, read only').waitFor();
    // A refused message reaches nobody, and its author keeps the text.
    await say(ada, 'Anybody?');
    await ada.getByText('This server did not reach the others. Please try again.').waitFor();
    expect(await draft(ada).inputValue()).toBe('Anybody?');
    expect(await ada.getByRole('log').getByText('Anybody?').count()).toBe(0);
    await people(ada).filter({ hasText: 'Grace' }).waitFor();
    await ada.getByText('People there are shown as last heard of.').waitFor();
    await ada.reload();
    await ada.getByText('Cut off, read only').waitFor();
    // Redis returns without its data. Newcomers do not get the earlier messages, and pages that had them learn of the loss.
    await redis.restart();
    await ada.getByText('Live on server one').waitFor();
    await grace.getByText('Live on server two').waitFor();
    await ada.getByText('People there are shown as last heard of.').waitFor({ state: 'hidden' });
    await say(grace, 'Together again');
    await hears(ada, 'Together again');
    await isTold(grace, 'Messages may be missing here: the server has forgotten what was said before');
    // Before their Redis, so that they do not miss it.
    await Promise.all(running.splice(0).map((app) => app.close()));
  }, 60_000);
});
