import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Controller } from '@nestjs/common';
import { afterEach, expect, test } from '@jest/globals';
import { defineChannel, Messages, MessagingModule, MessagingService, SessionMessages, Sse } from 'nestjs-messaging';
import { Inbox } from 'nestjs-messaging/testing';
import { startApp } from '../support/apps.js';
import { GatewayRequests, frameOf } from '../support/gateway-requests.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

const root = path.resolve(import.meta.dirname, '../..');

interface Hop {
  readonly className: string;
  readonly method: string;
  readonly file: string;
}

/** The table of docs/architecture.md. */
/** @param heading - of the section with the table */
function documentedHops(heading: string): Hop[] {
  const all = readFileSync(path.join(root, 'docs/architecture.md'), 'utf8');
  const [text = ''] = all.slice(all.indexOf(`${heading}\n`) + heading.length).split(/^##/m);
  return [...text.matchAll(/^\| \d+\s*\| `(\w+)\.(\w+)`\s*\| (\S+)\s*\|/gm)].map(([, className, method, file]) => ({
    className: className!,
    method: method!,
    file: file!,
  }));
}

const restore: (() => void)[] = [];
afterEach(() => {
  for (const undo of restore.splice(0)) undo();
});

/** Records the calls of these methods, in order. */
async function watch(hops: readonly Hop[], visited: string[], isWatching: () => boolean): Promise<void> {
  const seen = new Set<string>();
  for (const { className, method, file } of hops) {
    const name = `${className}.${method}`;
    if (seen.has(name)) continue;
    seen.add(name);
    const module = (await import(pathToFileURL(path.join(root, file)).href)) as Record<
      string,
      { prototype: Record<string, Function> }
    >;
    const { prototype } = module[className]!;
    const original = prototype[method];
    if (original === undefined) throw new Error(`docs/architecture.md names ${name}, which ${file} does not have`);
    prototype[method] = function (this: unknown, ...args: unknown[]): unknown {
      if (isWatching()) visited.push(name);
      return original.apply(this, args) as unknown;
    };
    restore.push(() => {
      prototype[method] = original;
    });
  }
}

const Greetings = defineChannel<string>('greetings', undefined, { clients: true });
const KeptGreetings = defineChannel<string>('kept_greetings', undefined, {
  history: { maxMessages: 9, ttlMs: 60_000 },
});

@Controller()
class Streams {
  @Sse('greetings')
  greetings(@Messages() messages: SessionMessages) {
    return messages.createStream(Greetings);
  }
}

/** A poster that also listens hears its own post from Redis and drops it: that is no hop of the way. */
function wayOf(visited: readonly string[]): string[] {
  const own = ['RedisSubscriber.receive', 'Inbound.receive'];
  return visited.filter((name, index) => !own.includes(name) || visited.indexOf(name) === index);
}

test('the way of a message matches the list in docs/architecture.md, through at most 8 files', async () => {
  const hops = documentedHops('## The way of a message');
  const visited: string[] = [];
  let isWatching = false;
  await watch(hops, visited, () => isWatching);
  await using redis = await RedisServer.start();
  await using poster = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url })] });
  await using receiver = await startApp({
    imports: [MessagingModule.forRoot({ redis: redis.url })],
    controllers: [Streams],
  });
  const messaging = poster.app.get(MessagingService);
  messaging.addListener(Greetings, () => {});
  await using client = await SseClient.connect(`${receiver.url}/greetings`);
  await receiver.app.get(MessagingService).addListener(Greetings, () => {}).ready;
  await client.comments.next();

  isWatching = true;
  await messaging.postMessage(Greetings, 'hello', { global: true });
  expect(await client.next()).toEqual(['message', 'hello']);
  isWatching = false;

  expect(hops.length).toBeGreaterThan(10);
  expect(wayOf(visited)).toEqual(hops.map(({ className, method }) => `${className}.${method}`));
  expect(new Set(hops.map(({ file }) => file)).size).toBeLessThanOrEqual(8);
});

test('the way of a message with history matches the list in docs/architecture.md', async () => {
  const hops = documentedHops('### On a channel with history');
  expect(hops).toHaveLength(13);
  const visited: string[] = [];
  let isWatching = false;
  await watch(hops, visited, () => isWatching);
  await using redis = await RedisServer.start();
  await using server = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url })] });
  const messaging = server.app.get(MessagingService);
  const inbox = new Inbox(messaging, KeptGreetings);
  await inbox.ready;

  isWatching = true;
  await messaging.postMessage(KeptGreetings, 'hello');
  expect(await inbox.next()).toBe('hello');
  isWatching = false;
  expect(visited).toEqual(hops.map(({ className, method }) => `${className}.${method}`));
});

test('the way of a message to a client of the gateway matches the list in docs/architecture.md', async () => {
  const hops = [
    ...documentedHops('## The way of a message').slice(0, 10),
    ...documentedHops('### To a client of the gateway'),
  ];
  expect(hops).toHaveLength(16);
  const visited: string[] = [];
  let isWatching = false;
  await watch(hops, visited, () => isWatching);
  await using redis = await RedisServer.start();
  await using poster = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url })] });
  await using holder = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url, gateway: true })] });
  const messaging = poster.app.get(MessagingService);
  messaging.addListener(Greetings, () => {});
  await using opened = await new GatewayRequests(`${holder.url}/messages`).open(Greetings.name);

  isWatching = true;
  await messaging.postMessage(Greetings, 'hello', { global: true });
  expect(await frameOf(opened.client)).toMatchObject({ channel: Greetings.name, data: 'hello' });
  isWatching = false;
  expect(wayOf(visited)).toEqual(hops.map(({ className, method }) => `${className}.${method}`));
});
