import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FAULT_KINDS, partOf, scheduleOf } from '../support/fault-schedule.js';
import { Queue } from '../support/queue.js';
import { TcpProxy } from 'nestjs-messaging/testing';

describe('a schedule of faults', () => {
  test('is the same for the same seed, and another one for another', () => {
    expect(scheduleOf(7)).toEqual(scheduleOf(7));
    expect(scheduleOf(7).faults).not.toEqual(scheduleOf(8).faults);
  });

  test('holds each kind within 100 seeds, several times those of servers', () => {
    const kinds = Array.from({ length: 100 }, (_, index) =>
      scheduleOf(index + 1).faults.map(({ kind }) => kind),
    ).flat();
    for (const kind of FAULT_KINDS) expect(kinds.filter((each) => each === kind).length).toBeGreaterThanOrEqual(5);
  });

  test('has no two faults of one thing at a time', () => {
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

  /** The two ends of a connection, and what each of them hears. */
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
      // The first is on its way.
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    }
    expect((await atServer.take(5)).join('')).toBe('01234');
  });

  test('lets one connection be silent one way, and others speak', async () => {
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

  test('cuts clients off while the server goes on in the belief that they are there', async () => {
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

/** What comes, character by character. */
function hear(socket: Socket): Queue<string> {
  const heard = new Queue<string>();
  socket.setEncoding('utf8').on('data', (text: string) => text.split('').forEach(heard.push));
  return heard;
}
