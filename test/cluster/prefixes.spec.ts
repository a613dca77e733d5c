import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { defineChannel, MessagingModule, MessagingService } from 'nestjs-messaging';
import { isHeard } from '../../lib/core/heard.js';
import { Hub } from '../../lib/core/hub.js';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { startApp, type TestApp } from '../support/apps.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';

// Applications on one Redis, each with its own prefix: all pairs of them at once.

const PREFIXES = [
  '',
  'app',
  'app:',
  'app:a',
  'app%7B',
  'app{',
  '{app}',
  'a*',
  '*',
  '?pp:',
  '[a-z]pp:',
  '\\',
  '\\*',
  'messaging:',
  'messaging:messaging',
];

const history = { maxMessages: 100, ttlMs: 60_000 };
const News = defineChannel<string>('prefixes/news');
const Kept = defineChannel<string, 'prefixes/kept/:id'>('prefixes/kept/:id', undefined, { history });
const Ledger = defineChannel<string>('prefixes/ledger', undefined, { history });
/** Reached by every name of two and of three parts. */
const TEMPLATES = [':any/:other', ':any/:other/:third', 'prefixes/:name'];

interface Application {
  readonly prefix: string;
  readonly running: TestApp;
  readonly messaging: MessagingService;
  readonly hub: Hub;
  readonly heard: string[];
  isSignedIn: boolean;
}

describe('Applications on one Redis with prefixes of their own', () => {
  let redis: RedisServer;
  let applications: Application[];

  async function start(prefix: string): Promise<Application> {
    // The module's option `prefix` accepts no characters of Redis patterns.
    const transport = new RedisTransport(redis.url, { prefix });
    const running = await startApp({ imports: [MessagingModule.forRoot({ transport, gateway: true })] });
    const messaging = running.app.get(MessagingService);
    const hub = running.app.get(Hub);
    const heard: string[] = [];
    const application = { prefix, running, messaging, hub, heard, isSignedIn: true };
    const { session } = messaging.openSession({ auth: { userId: 'ada', issuedAt: Date.now() } });
    session.signal.addEventListener('abort', () => (application.isSignedIn = false));
    const listeners = [News, Ledger, Kept, ...TEMPLATES].map((channel) =>
      hub.listen(channel as never, (message: string) => heard.push(message), hub.own),
    );
    await Promise.all(listeners.map(({ ready }) => ready));
    return application;
  }

  beforeAll(async () => {
    redis = await RedisServer.start();
    applications = [];
    for (const prefix of PREFIXES) applications.push(await start(prefix));
  }, 60_000);
  afterAll(async () => {
    for (const { running } of applications ?? []) await running[Symbol.asyncDispose]();
    await redis?.[Symbol.asyncDispose]();
  });

  /** Everything that Redis accepted before has reached all of them. */
  const settle = () => Promise.all(applications.map(async ({ hub }) => expect(await hub.catchUp()).toBe(true)));

  test('hear nothing of each other, by name, by template or by history, and keep their own messages', async () => {
    for (const [index, { prefix, messaging }] of applications.entries()) {
      expect(await messaging.postMessage(News, prefix, { global: true })).toBe(true);
      for (let count = 0; count <= index; count++) await messaging.postMessage(Ledger, prefix);
      await messaging.postMessage(Kept.for({ id: 'a' }), prefix);
    }
    await settle();
    for (const [index, { prefix, heard, hub }] of applications.entries()) {
      expect([prefix, ...new Set(heard)]).toEqual([prefix, prefix]);
      expect([prefix, (await hub.positionOf(Ledger.name)).offset]).toEqual([prefix, index + 1]);
      const { deliveries } = await hub.readHistory(Ledger.name, 100);
      expect(new Set(deliveries.map(({ message }) => message))).toEqual(new Set([prefix]));
    }
  });

  test('do not hear each other’s revocations', async () => {
    for (const application of applications) {
      application.isSignedIn = true;
      const { session } = application.messaging.openSession({ auth: { userId: 'eve', issuedAt: Date.now() - 10_000 } });
      session.signal.addEventListener('abort', () => (application.isSignedIn = false));
    }
    for (const [index, { messaging }] of applications.entries()) {
      expect(await messaging.revokeAuthentication('eve')).toBe(true);
      await settle();
      const signedIn = applications.map(({ isSignedIn }) => isSignedIn);
      expect(signedIn).toEqual(applications.map((_, other) => other > index));
    }
  });

  test('find no other server: each is alone', async () => {
    for (const { hub, prefix } of applications)
      expect([prefix, await isHeard(hub, `${News.name}/nobody`)]).toEqual([prefix, false]);
  });

  test('have no key in common, and put each key behind their prefix', async () => {
    using probe = new RedisProbe(redis.url);
    const keys = await probe.redis.keys('*');
    expect(keys.length).toBeGreaterThan(4 * PREFIXES.length);
    const counts = new Map(PREFIXES.map((prefix) => [prefix.replace(/[%{}]/g, encodeURIComponent), 0]));
    for (const key of keys) {
      const prefix = key.slice(0, key.indexOf('|'));
      expect(counts.has(prefix)).toBe(true);
      counts.set(prefix, counts.get(prefix)! + 1);
    }
    // Each has the same kinds of keys.
    expect(new Set(counts.values()).size).toBe(1);
  });
});
