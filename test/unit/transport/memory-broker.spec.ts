import { expect, test } from '@jest/globals';
import { ConfigurationError } from '../../../lib/protocol/errors.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';

async function node(broker: MemoryBroker, name: string): Promise<[MemoryTransport, Queue<string>]> {
  const transport = new MemoryTransport(broker);
  const received = new Queue<string>();
  await transport.start((payload) => received.push(payload));
  await transport.subscribe(name);
  return [transport, received];
}

test('nodes of different brokers do not hear each other', async () => {
  const [a, atA] = await node(new MemoryBroker(), 'news');
  const [b, atB] = await node(new MemoryBroker(), 'news');
  await a.publish('news', 'a');
  await b.publish('news', 'b');
  expect([await atA.next(), await atB.next()]).toEqual(['a', 'b']);
  expect(atA.pending).toEqual([]);
});

test('a post on its way when the broker is cut is not accepted and not delivered', async () => {
  const broker = new MemoryBroker();
  const [a, atA] = await node(broker, 'news');
  const published = a.publish('news', 'lost');
  broker.cut();
  expect(await published).toBe(false);
  broker.heal();
  await a.subscribe('news');
  expect(await a.publish('news', 'end')).toBe(true);
  expect(await atA.next()).toBe('end');
});

test('cutting twice and healing twice has the same effect as once', async () => {
  const broker = new MemoryBroker();
  const [a] = await node(broker, 'news');
  const states: string[] = [];
  a.status.subscribe(({ state }) => states.push(state));
  broker.cut();
  broker.cut();
  broker.heal();
  broker.heal();
  await a.subscribe('news');
  expect(states).toEqual(['ready', 'waiting', 'ready']);
});

test('a post by a receiver is delivered in a later turn', async () => {
  const broker = new MemoryBroker();
  const transport = new MemoryTransport(broker);
  const depths: number[] = [];
  let depth = 0;
  const done = new Queue<void>();
  await transport.start((payload) => {
    depths.push(++depth);
    if (Number(payload) < 3) void transport.publish('news', String(Number(payload) + 1));
    else done.push();
    depth--;
  });
  await transport.subscribe('news');
  await transport.publish('news', '1');
  await done.next();
  expect(depths).toEqual([1, 1, 1]);
});

test('one node can be cut off alone: it learns of its loss, and the others have none', async () => {
  const broker = new MemoryBroker();
  const events: string[] = [];
  const [a, b] = ['a', 'b'].map((label) => {
    const transport = new MemoryTransport(broker);
    void transport.start((payload) => events.push(`${label} ${payload}`), {
      lost: (name, reason) => events.push(`${label} lost ${name} ${reason}`),
    });
    return transport;
  }) as [MemoryTransport, MemoryTransport];
  await Promise.all([a.subscribe('news'), b.subscribe('news')]);
  broker.cut(a);
  expect(await a.publish('news', 'refused')).toBe(false);
  expect(await a.hearers('news')).toBeUndefined();
  expect(await b.publish('news', '1')).toBe(true);
  broker.heal();
  await a.subscribe('news');
  expect(await b.publish('news', '2')).toBe(true);
  await broker.turn();
  expect(events).toEqual(['b 1', 'a lost news broker', 'a 2', 'b 2']);
});

test('one node can be healed alone, and the others later', async () => {
  const broker = new MemoryBroker();
  const [[a], [b, atB]] = [await node(broker, 'news'), await node(broker, 'news')];
  broker.cut();
  broker.heal(a);
  await a.subscribe('news');
  expect([await a.publish('news', '1'), await b.publish('news', 'no')]).toEqual([true, false]);
  broker.heal();
  await b.subscribe('news');
  expect(await a.publish('news', '2')).toBe(true);
  expect(await atB.next()).toBe('2');
});

test('a broker cuts off and heals only its own nodes, and refuses other arguments', async () => {
  const broker = new MemoryBroker();
  const [a, atA] = await node(broker, 'news');
  const [foreign] = await node(new MemoryBroker(), 'news');
  for (const wrong of [7, {}, null, 'news', broker, foreign]) {
    expect(() => broker.cut(wrong as never)).toThrow(ConfigurationError);
    expect(() => broker.cut(wrong as never)).toThrow('MemoryBroker.cut(): give it a transport of this broker, as new');
    expect(() => broker.heal(wrong as never)).toThrow(
      'MemoryBroker.heal(): give it a transport of this broker, as new',
    );
  }
  expect(() => broker.cut(foreign)).toThrow('or nothing for all of them; not one of another broker');
  expect(await a.publish('news', '1')).toBe(true);
  expect(await atA.next()).toBe('1');
  // Before its start and after its end, it has nothing to cut or refuse.
  broker.cut(new MemoryTransport(broker));
  await a.close();
  broker.cut(a);
});
