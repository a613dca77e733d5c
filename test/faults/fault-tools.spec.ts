import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ConfigurationError, defineChannel } from 'nestjs-messaging';
import { createTestMessaging, Inbox, RedisProxy, TcpProxy } from 'nestjs-messaging/testing';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { bundleProgram } from '../support/bundled-program.js';
import { explain, type Visit } from '../support/fault-causes.js';
import { channelOf, RESUMED } from '../support/fault-channels.js';
import type { FaultNodeNote } from '../support/fault-node.js';
import { FaultProcess } from '../support/fault-process.js';
import type { FaultReader } from '../support/fault-readers.js';
import { FAULT_KINDS, partOf, scheduleOf, type Fault, type FaultKind } from '../support/fault-schedule.js';
import { Ledger, ReaderLog } from '../support/ledger.js';
import { machineClock } from '../support/machine-clock.js';
import { Queue } from '../support/queue.js';
import { RedisNodes, reached } from '../support/redis-nodes.js';

describe('a schedule of faults', () => {
  test('is the same for the same seed, and differs for another one', () => {
    expect(scheduleOf(7)).toEqual(scheduleOf(7));
    expect(scheduleOf(7).faults).not.toEqual(scheduleOf(8).faults);
  });

  test('holds each kind at least five times within 100 seeds', () => {
    const kinds = Array.from({ length: 100 }, (_, index) =>
      scheduleOf(index + 1).faults.map(({ kind }) => kind),
    ).flat();
    for (const kind of FAULT_KINDS) expect(kinds.filter((each) => each === kind).length).toBeGreaterThanOrEqual(5);
  });

  test('never has two faults of one target at a time', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const endOf = new Map<string, number>();
      for (const { kind, target, atMs, forMs } of scheduleOf(seed).faults) {
        const part = partOf(kind);
        const thing = part === 'redis' ? 'redis' : `${part} ${target}`;
        expect(atMs).toBeGreaterThan(Math.max(endOf.get(thing) ?? -1, endOf.get(`${part} -1`) ?? -1));
        endOf.set(thing, atMs + forMs);
      }
    }
  });
});

const faultOf = (kind: FaultKind): Fault => ({
  kind,
  atMs: 0,
  forMs: 0,
  target: 0,
  way: 'down',
  connection: undefined,
});

/** Whether a server that leaves may cost a gap for the client that it had. */
function mayLose(
  visits: readonly Visit[],
  openedAtMs: readonly number[],
  ...cuts: readonly (readonly [fromMs: number, untilMs: number])[]
): boolean {
  const log = new ReaderLog('client 0', 'c', () => true, 0);
  const reader = { id: 'client 0', logs: new Map([['c', log]]), openedAtMs } as unknown as FaultReader;
  const inflicted = cuts.map(([fromMs, untilMs]) => ({ fault: faultOf('client-cut'), fromMs, untilMs }));
  const ledger = new Ledger();
  ledger.add(log);
  explain({ ledger, readers: [reader], visits: [visits], inflicted }, faultOf('node-restart'), 1_000, 12_000);
  return log.causes.length > 0;
}

describe('a server that leaves', () => {
  const [first, soon, late] = [
    { slot: 0, atMs: 0 },
    { slot: 2, atMs: 2_000 },
    { slot: 2, atMs: 11_000 },
  ] as const;

  test('loses nothing for a client that comes back in time, or that is not its own', () => {
    expect(mayLose([first, soon], [10, 2_100])).toBe(false);
    expect(mayLose([{ ...first, slot: 1 }, late], [10, 11_100], [900, 10_900])).toBe(false);
    expect(mayLose([{ ...first, atMs: -9 }, { slot: 1, atMs: 0 }, late], [-5, 10, 11_100])).toBe(false);
  });

  test('may lose something for a client that comes late, or whose network had failed', () => {
    expect(mayLose([first, late], [10, 11_100])).toBe(true);
    expect(mayLose([first, soon], [10, 2_100], [900, 1_900])).toBe(true);
  });

  test('may lose something for a client that comes in time, and whose network fails before its stream is open', () => {
    expect(mayLose([first, soon, late], [10, 11_100], [2_050, 10_900])).toBe(true);
    // Not if that was later, or if it is back in time all the same.
    expect(mayLose([first, soon, late], [10, 2_030, 11_100], [2_050, 10_900])).toBe(false);
    expect(mayLose([first, soon, { ...late, atMs: 3_000 }], [10, 3_100], [2_050, 2_900])).toBe(false);
  });

  test('may lose something for a client that has only just reached another server, and has nothing from there', () => {
    expect(mayLose([first, { slot: 1, atMs: 900 }, late], [10, 11_100], [950, 10_900])).toBe(true);
  });
});

describe('a server of a fault world', () => {
  test('promises a reader only what is posted once it is ready, unless it goes on from a place', async () => {
    await using nodes = new RedisNodes();
    const { url } = await nodes.server();
    const link = nodes.use(await TcpProxy.start(url));
    const notes = new Queue<FaultNodeNote>();
    const options = { name: '0.2', adapter: 'Express', heartbeatMs: 15_000, recoveryMs: 60_000 } as const;
    const code = `import { startFaultNode } from './fault-node.ts'; await startFaultNode(JSON.parse(process.env.FAULT_NODE));`;
    await using server = await FaultProcess.start(
      await bundleProgram(code),
      { ...options, redis: { host: '127.0.0.1', port: link.port } },
      (told) => told.forEach(notes.push),
    );
    const run = { run: 'r', everyMs: { 'kept/calm': 20 } };
    const { name } = channelOf(run.run, 'kept/calm');
    const way = `${name} ${RESUMED}`;
    // Redis takes the subscriptions late.
    link.pause();
    const listening = server.do({ task: 'listen', run });
    await server.do({ task: 'quiet' });
    const takenMs = machineClock();
    link.resume();
    await listening;
    const [, , readyMs] = await notes.until(([kind, of]) => kind === 'ready' && of === way);
    expect(readyMs).toBeGreaterThan(takenMs);
    await server.do({ task: 'post', run });
    const isMessage = (n: number) => (note: FaultNodeNote) => note[0] === 'message' && note[1] === way && note[4] === n;
    const [, , , , , position] = (await notes.until(isMessage(1))) as Extract<
      FaultNodeNote,
      readonly ['message', ...unknown[]]
    >;
    await notes.until(isMessage(3));
    for (const task of ['quiet', 'end'] as const) await server.do({ task });
    await notes.take(notes.pending.length);
    await server.do({ task: 'listen', run: { ...run, from: { [name]: position! } } });
    const again = notes.pending.filter((note) => note[1] === way).map((note) => [note[0], note[4]]);
    expect(again.slice(0, 2)).toEqual([
      ['message', 2],
      ['message', 3],
    ]);
    expect(again.every(([kind]) => kind === 'message')).toBe(true);
  });
});

describe('the proxy that is the network', () => {
  let proxy: TcpProxy;
  let ends: Socket[];
  const accepted = new Queue<Socket>();
  const listening = createServer((socket) => accepted.push(socket.on('error', () => {})));

  beforeEach(async () => {
    listening.listen(0, '127.0.0.1');
    await once(listening, 'listening');
    proxy = await TcpProxy.start((listening.address() as AddressInfo).port);
    ends = [];
  });

  afterEach(async () => {
    for (const end of ends) end.destroy();
    await proxy[Symbol.asyncDispose]();
    listening.close();
    await once(listening, 'close');
  });

  /** The two ends of a connection, and the data that each receives. */
  async function pair() {
    const client = connect(proxy.port, '127.0.0.1').on('error', () => {});
    const server = await accepted.next();
    ends.push(client, server);
    return { client, server, atClient: hear(client), atServer: hear(server) };
  }

  test('keeps the order of bytes while the delay changes', async () => {
    const { client, atServer } = await pair();
    for (const [index, delayMs] of [30, 0, 20, 5, 0].entries()) {
      proxy.delayMs = delayMs;
      client.write(String(index));
      if (index > 0) continue;
      // The first one is on its way.
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    }
    expect((await atServer.take(5)).join('')).toBe('01234');
  });

  test('silences one connection in one direction, while others continue', async () => {
    const [silent, other] = [await pair(), await pair()];
    proxy.mute('down', 0);
    silent.server.write('x');
    other.server.write('1');
    silent.client.write('2');
    expect(await other.atClient.next()).toBe('1');
    expect(await silent.atServer.next()).toBe('2');
    expect(silent.atClient.pending).toEqual([]);
    expect(silent.client.destroyed).toBe(false);
  });

  test('cuts clients off while the server still considers them connected', async () => {
    const { client, server } = await pair();
    const closed = once(client, 'close');
    proxy.orphan();
    await closed;
    server.write('x');
    await pair();
    expect(server.destroyed).toBe(false);
  });

  test('cuts one connection and leaves the others', async () => {
    const [one, other] = [await pair(), await pair()];
    const closed = once(one.server, 'close');
    proxy.cut(0);
    await closed;
    other.client.write('1');
    expect(await other.atServer.next()).toBe('1');
  });
});

describe('a proxy before a Redis', () => {
  const News = defineChannel('fault-tools/news', undefined, { history: { maxMessages: 10, ttlMs: 60_000 } });
  let nodes = new RedisNodes();

  afterEach(async () => {
    await nodes[Symbol.asyncDispose]();
    nodes = new RedisNodes();
  });

  test('gives the URL of the Redis, with its credentials, and refuses anything else', async () => {
    await using proxy = await RedisProxy.start('redis://ada:se%20cret@localhost/2');
    expect(proxy.url).toBe(`redis://ada:se%20cret@127.0.0.1:${proxy.port}/2`);
    for (const url of ['rediss://localhost', 'localhost:6379', 'redis://a:b:c', 6379, null]) {
      await expect(RedisProxy.start(url as string)).rejects.toThrow(ConfigurationError);
    }
  });

  test('cuts the link and restores it: posts are not accepted, and listeners learn that they may have missed messages', async () => {
    const server = await nodes.server();
    const proxy = nodes.use(await RedisProxy.start(server.url));
    const [a, told] = await nodes.listener({ url: proxy.url, publishTimeoutMs: 300 }, ['news']);
    proxy.refuse();
    expect(await a.publish('news', 'no')).toBe(false);
    proxy.accept();
    await reached(a, 'ready');
    expect(await told.next()).toBe('news lost: broker');
    expect(await a.publish('news', 'yes')).toBe(true);
    expect(await told.next()).toBe('news: yes');
  });

  test('holds back traffic while it is paused, and loses nothing', async () => {
    const server = await nodes.server();
    const proxy = nodes.use(await RedisProxy.start(server.url));
    const [a, told] = await nodes.listener(proxy.url, ['news']);
    proxy.pause();
    const accepted = a.publish('news', 'late');
    const [b] = await nodes.node(server.url);
    await b.publish('news', 'other');
    expect(told.pending).toEqual([]);
    proxy.resume();
    expect(await accepted).toBe(true);
    expect((await told.take(2)).toSorted()).toEqual(['news: late', 'news: other']);
  });

  test.each([2, 3])('drops the next message of one channel and nothing else, with protocol %i', async (protocol) => {
    const server = await nodes.server();
    const proxy = nodes.use(await RedisProxy.start(server.url));
    const [, told] = await nodes.listener({ url: proxy.url, protocol }, ['news', 'ews', 'rooms/:id']);
    const [b] = await nodes.node(server.url);
    const dropped = [proxy.dropNext('ews'), proxy.dropNext({ name: 'rooms/1' })];
    for (const channel of ['news', 'ews', 'rooms/1', 'rooms/2', 'ews', 'rooms/1', 'żółć 🦊', 'news']) {
      await b.publish(channel, `${channel} ${'x'.repeat(10_000)}`);
    }
    await Promise.all(dropped);
    const heard = (await told.take(5)).map((line) => line.slice(0, 20).replace(/ x+$/, ''));
    expect(heard).toEqual(['news: news', 'rooms/:id: rooms/2', 'ews: ews', 'rooms/:id: rooms/1', 'news: news']);
  });

  test('drops a message of a channel with history, which readers then fetch', async () => {
    const server = await nodes.server();
    const proxy = nodes.use(await RedisProxy.start(server.url));
    await using one = await createTestMessaging({ transport: new RedisTransport(server.url) });
    await using two = await createTestMessaging({ transport: new RedisTransport(proxy.url) });
    const inbox = new Inbox(two.service, News);
    await inbox.ready;
    const dropped = proxy.dropNext(News);
    await one.service.postMessage(News, 1, { global: true });
    await dropped;
    await one.service.postMessage(News, 2, { global: true });
    expect(await inbox.take(2)).toEqual([1, 2]);
  });

  test('wipes only the data of the library, which readers notice, and passes on refusals of Redis', async () => {
    const server = await nodes.server({ password: 'se cret' });
    const probe = nodes.probe(server);
    await probe.redis.set('messaging', 'of the application');
    const url = `redis://:se%20cret@127.0.0.1:${server.port}`;
    const proxy = nodes.use(await RedisProxy.start(url));
    await using messaging = await createTestMessaging({ transport: new RedisTransport(proxy.url) });
    const gaps = new Queue<string>();
    const heard = new Queue<unknown>();
    const listening = messaging.service.addListener(News, heard.push, { onGap: ({ reason }) => gaps.push(reason) });
    await listening.ready;
    await messaging.service.postMessage(News, 1, { global: true });
    await proxy.wipe('other:');
    expect((await probe.redis.keys('*')).length).toBeGreaterThan(1);
    await proxy.wipe();
    expect(await probe.redis.keys('*')).toEqual(['messaging']);
    await messaging.service.postMessage(News, 2, { global: true });
    expect([await gaps.next(), await heard.take(2)]).toEqual(['epoch', [1, 2]]);
    await using denied = await RedisProxy.start(`redis://127.0.0.1:${server.port}`);
    await expect(denied.wipe()).rejects.toThrow(/Redis refuses EVAL: NOAUTH/);
  });
});

/** The received text, character by character. */
function hear(socket: Socket): Queue<string> {
  const heard = new Queue<string>();
  socket.setEncoding('utf8').on('data', (text: string) => text.split('').forEach(heard.push));
  return heard;
}
