import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { createApp } from '../../sample-app/app.js';
import { Settings } from '../../sample-app/settings.js';
import { launchChromium } from '../support/chromium.js';
import { RedisServer } from '../support/redis-server.js';

let browser: Browser;
const running: NestExpressApplication[] = [];

beforeAll(async () => {
  browser = await launchChromium();
}, 60_000);

afterAll(() => browser?.close());

afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  await Promise.all(running.splice(0).map((app) => app.close()));
});

async function start(settings = new Settings(), port = 0): Promise<NestExpressApplication> {
  const app = await createApp(settings);
  running.push(app);
  await app.listen(port, '127.0.0.1');
  return app;
}

async function stop(app: NestExpressApplication): Promise<void> {
  running.splice(running.indexOf(app), 1);
  await app.close();
}

/** Opens the page in a browser of its own and signs in. */
async function signIn(app: NestExpressApplication, name: string, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await page.goto(await app.getUrl());
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await isLive(page);
  return page;
}

function isLive(page: Page): Promise<void> {
  return page.getByRole('status').getByText('Live').waitFor();
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

/** Resolves when the text is there, in the messages of the room. */
function hears(page: Page, text: string): Promise<void> {
  return page.getByRole('log').getByText(text, { exact: true }).waitFor();
}

/** Resolves when this piece of news is there, between the messages. */
function isTold(page: Page, news: string): Promise<void> {
  return page.getByRole('log').getByRole('listitem').filter({ hasText: news }).waitFor();
}

const people = (page: Page) => page.getByRole('complementary', { name: 'People' }).getByRole('listitem');
const room = (page: Page, name: string) => page.getByRole('link', { name });

describe('the page of the sample app', () => {
  test('two people talk, and see what the other is up to', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    await isTold(ada, 'Grace joined');
    await say(ada, 'Is this <b>bold</b>?');
    await hears(grace, 'Is this <b>bold</b>?');
    expect(await grace.getByRole('log').locator('b').count()).toBe(0);
    await grace.getByLabel('Message', { exact: true }).pressSequentially('No');
    await ada.getByText('Grace is writing').waitFor();
    await grace.getByRole('button', { name: 'Send' }).click();
    await hears(ada, 'No');
    await grace.getByLabel('Your status').fill('Hunting bugs');
    await grace.getByRole('button', { name: 'Set' }).click();
    await people(ada).filter({ hasText: 'Grace' }).getByText('Hunting bugs').waitFor();
    // Once, not once as the answer and once from the stream.
    expect(await grace.getByRole('log').getByText('No', { exact: true }).count()).toBe(1);
  }, 60_000);

  test('a new room is there for everybody, and what is said in it is counted until it is read', async () => {
    const app = await start();
    const [ada, grace] = [await signIn(app, 'Ada'), await signIn(app, 'Grace')];
    await grace.getByLabel('Name of a new room').fill('Coffee & cake');
    await grace.getByRole('button', { name: 'Create the room' }).click();
    await grace.getByRole('heading', { name: 'Coffee & cake' }).waitFor();
    await isLive(grace);
    await say(grace, 'First!');
    await room(ada, 'Coffee & cake').getByLabel('1 new').waitFor();
    await room(ada, 'Coffee & cake').click();
    await hears(ada, 'First!');
    await room(ada, 'Coffee & cake').getByLabel('1 new').waitFor({ state: 'detached' });
    // Whoever opens the address of the room is in it.
    const lin = await signIn(app, 'Lin');
    await lin.goto(ada.url());
    await hears(lin, 'First!');
    expect(await lin.getByRole('heading', { level: 1 }).textContent()).toBe('Coffee & cake');
  }, 60_000);

  test('signing out ends the streams of all tabs of this sign-in, and each of them says so', async () => {
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

  test('says what was wrong with a name', async () => {
    const app = await start();
    await signIn(app, 'Ada');
    const page = await (await browser.newContext()).newPage();
    await page.goto(await app.getUrl());
    await page.getByLabel('Your name').fill('ada');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').waitFor();
    expect(await page.getByRole('alert').textContent()).toBe('ada is here already. Please choose another name.');
  }, 60_000);

  test('is at home on a phone', async () => {
    const app = await start();
    const ada = await signIn(app, 'Ada', { viewport: { width: 360, height: 640 }, colorScheme: 'dark' });
    expect(await ada.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
    await people(ada).filter({ hasText: 'Ada' }).waitFor({ state: 'hidden' });
    await ada.getByRole('button', { name: '1 online' }).click();
    await people(ada).filter({ hasText: 'Ada' }).waitFor();
    await ada.keyboard.press('Escape');
    await people(ada).filter({ hasText: 'Ada' }).waitFor({ state: 'hidden' });
  }, 60_000);

  test('pages of two servers with a Redis between them show the same, also after one was restarted', async () => {
    await using redis = await RedisServer.start();
    const settings = (serverName: string) =>
      new Settings({ serverName, redisUrl: redis.url, sessionSecret: 'shared by both' });
    const [one, two] = [await start(settings('one')), await start(settings('two'))];
    const [ada, grace] = [await signIn(one, 'Ada'), await signIn(two, 'Grace')];
    await ada.getByText('Live on server one').waitFor();
    await grace.getByText('Live on server two').waitFor();
    await isTold(ada, 'Grace joined');
    await say(ada, 'Hello from one');
    await hears(grace, 'Hello from one');
    await say(grace, 'Hello from two');
    await hears(ada, 'Hello from two');

    const port = Number(new URL(await one.getUrl()).port);
    await stop(one);
    await ada.getByText('Reconnecting').waitFor();
    await isTold(grace, 'Ada left');
    await start(settings('one'), port);
    await ada.getByText('Live on server one').waitFor();
    await hears(ada, 'Hello from one');
    await people(ada).filter({ hasText: 'Grace' }).waitFor();
    await say(ada, 'Back again');
    await hears(grace, 'Back again');
    // What the page had already was not shown twice.
    expect(await ada.getByRole('log').getByText('Hello from two').count()).toBe(1);
    await Promise.all(running.splice(0).map((app) => app.close()));
  }, 60_000);
});
