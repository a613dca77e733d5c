import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Hub } from '../../../lib/core/hub.js';
import { NodeRequests } from '../../../lib/core/node-requests.js';
import { SIGNED_WITHIN_MS, Signatures } from '../../../lib/core/signatures.js';
import { reservedChannel, type Channel } from '../../../lib/protocol/channel.js';
import { InvalidMessageError } from '../../../lib/protocol/errors.js';
import { encodeEnvelope, envelopePrefix } from '../../../lib/protocol/envelope.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const secretOf = (): string => randomBytes(32).toString('base64');
const [secret, other] = [secretOf(), secretOf()];
const NODES = 'messaging:nodes';

const of = (...secrets: string[]) => new Signatures(secrets, 'shop:', () => {});
const open = (signatures: Signatures, payload: string, channel = NODES) =>
  signatures.open(payload, channel, channel, false);

let serial = 0;
const envelopeOf = (data: unknown, channel = NODES, at = Date.now()): string =>
  encodeEnvelope(
    channel,
    envelopePrefix('a-node'),
    { postedAt: at, serial: ++serial },
    {
      type: undefined,
      meta: undefined,
      data: JSON.stringify(data),
    },
  );

afterEach(() => {
  jest.restoreAllMocks();
});

describe('A signed envelope', () => {
  test('is the original envelope for any node with the secret', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        const envelope = envelopeOf(JSON.parse(json));
        expect(open(of(secret), of(secret).sign(NODES, envelope))).toBe(envelope);
      }),
    );
  });

  test('is refused if anything in it was changed', () => {
    const signed = of(secret).sign(NODES, envelopeOf({ kind: 'call', id: 'x' }));
    fc.assert(
      fc.property(fc.nat(signed.length - 1), fc.constantFrom('0', 'A', '"', '}', ' '), (index, character) => {
        fc.pre(signed[index] !== character);
        expect(() => open(of(secret), signed.slice(0, index) + character + signed.slice(index + 1))).toThrow(
          InvalidMessageError,
        );
        expect(() => open(of(secret), signed.slice(0, index) + character + signed.slice(index))).toThrow(
          InvalidMessageError,
        );
      }),
      { numRuns: 500 },
    );
  });

  test('is refused on another channel, with another secret, in another application, and without a signature', () => {
    const envelope = envelopeOf(1);
    const signed = of(secret).sign(NODES, envelope);
    expect(() => open(of(secret), signed, 'messaging:node/x')).toThrow('its signature is wrong');
    expect(() => open(of(other), signed)).toThrow('its signature is wrong');
    expect(() => open(new Signatures([secret], 'shop', () => {}), signed)).toThrow('its signature is wrong');
    expect(() => open(of(secret), envelope)).toThrow('it is not signed');
    expect(() => open(of(secret), `${envelope.slice(0, -1)},"sig":"${'A'.repeat(43)}"}`)).toThrow('is wrong');
  });

  test('is accepted with any of several secrets, and signed with the first', () => {
    const signed = of(secret, other).sign(NODES, envelopeOf(1));
    expect(open(of(other, secret), signed)).toBe(open(of(secret), signed));
    expect(() => open(of(other), signed)).toThrow('its signature is wrong');
  });

  test('is refused a second time, and counts once for each subscription that receives it', () => {
    const signatures = of(secret);
    const channel = 'messaging:request/orders/7';
    const signed = signatures.sign(channel, envelopeOf(1, channel));
    for (const subscription of [channel, 'messaging:request/orders/:id']) {
      signatures.open(signed, subscription, channel, false);
      expect(() => signatures.open(signed, subscription, channel, false)).toThrow('it was received before');
    }
  });

  test.each([-1, 1])('is refused if it is older or younger than clocks may differ: %d', (sign) => {
    const now = Date.now();
    const signed = of(secret).sign(NODES, envelopeOf(1, NODES, now));
    const clock = jest.spyOn(Date, 'now').mockReturnValue(now + sign * SIGNED_WITHIN_MS);
    expect(() => open(of(secret), signed)).not.toThrow();
    clock.mockReturnValue(now + sign * (SIGNED_WITHIN_MS + 1));
    expect(() => open(of(secret), signed)).toThrow(`60001 ms ${sign > 0 ? 'ago' : 'from now'}`);
  });

  test('of a history counts however old it is, and however often it is read', () => {
    const signatures = of(secret);
    const signed = signatures.sign(NODES, envelopeOf(1, NODES, 1_000));
    for (let read = 0; read < 2; read++) expect(() => signatures.open(signed, NODES, NODES, true)).not.toThrow();
    expect(() => signatures.open(envelopeOf(1), NODES, NODES, true)).toThrow('it is not signed');
  });

  test('is never used for messages of the application and of its sources', () => {
    const signatures = of(secret);
    for (const channel of ['news', 'messaging:from/Room/7/Said', 'messages']) {
      const envelope = envelopeOf(1, channel);
      expect(signatures.sign(channel, envelope)).toBe(envelope);
      expect(open(signatures, envelope, channel)).toBe(envelope);
    }
  });
});

/** A node on a broker, with or without a secret. */
async function nodeOn(broker: MemoryBroker, ...secrets: string[]) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, secrets, transport: new MemoryTransport(broker) });
  const requests = new NodeRequests(hub, async (body) => ({ got: body }));
  const listeners = requests.listen();
  await hub.start();
  await Promise.all(listeners.map(({ ready }) => ready));
  return { hub, reporter, requests, [Symbol.asyncDispose]: () => hub.close() };
}

/** The payloads on a channel, and the broker as an outsider sees it. */
async function neighbourOn(broker: MemoryBroker, ...channels: string[]) {
  const seen = new Queue<string>();
  const transport = new MemoryTransport(broker);
  await transport.start((payload) => seen.push(payload));
  await Promise.all(channels.map((channel) => transport.subscribe(channel)));
  return { seen, transport, [Symbol.asyncDispose]: () => transport.close() };
}

describe('Nodes with a secret', () => {
  test('ask each other, and refuse messages that a neighbour repeats, changes or invents', async () => {
    const broker = new MemoryBroker();
    await using a = await nodeOn(broker, secret);
    await using b = await nodeOn(broker, secret);
    const ofA = `messaging:node/${a.hub.node}`;
    await using neighbour = await neighbourOn(broker, ofA);
    expect(await b.requests.ask(a.hub.node, 'question', 60_000)).toEqual({ got: 'question' });

    const asked = await neighbour.seen.next();
    expect(asked).toMatch(/,"sig":"[\w-]{43}"\}$/);
    const id = /"id":"([^"]*)"/.exec(asked)![1]!;
    for (const payload of [
      asked,
      asked.replace('question"}', 'revoke"}'),
      asked.replace(
        id,
        id.replace(/./, (digit) => (digit === '0' ? '1' : '0')),
      ),
      asked.replace(/,"sig":"[^"]*"/, ''),
    ]) {
      await neighbour.transport.publish(ofA, payload);
    }
    expect(await b.requests.ask(a.hub.node, 'another', 60_000)).toEqual({ got: 'another' });
    expect(a.reporter.rejections.map(({ error }) => error.message)).toEqual([
      'it was received before; somebody has sent it again',
      'its signature is wrong (option "secret")',
      'its signature is wrong (option "secret")',
      'it is not signed (option "secret")',
    ]);
  });

  test.each(['messaging:nodes', 'messaging:node/x', 'messaging:request/orders/7', 'messaging:kept'])(
    'refuse on %s recorded messages that a neighbour presents as part of a history',
    async (name) => {
      reservedChannel('kept', undefined, { history: { maxMessages: 10, ttlMs: 60_000 } });
      const broker = new MemoryBroker();
      const reporter = new RecordingReporter();
      const transport = new MemoryTransport(broker);
      const hub = new Hub({ reporter, secrets: [secret], transport });
      await hub.start();
      const taken = new Queue<number>();
      const take = ({ message }: { message: unknown }) => taken.push(message as number);
      await hub.tap(hub.heardUnder(name), take, hub.own, 'a test').ready;
      const signedOf = (data: number) => new Signatures([secret], '', () => {}).sign(name, envelopeOf(data, name));
      const recorded = signedOf(1);
      transport.deliver(name, recorded);
      for (const offset of [1, 2]) transport.deliver(name, recorded, { epoch: 'forged', offset });
      transport.deliver(name, signedOf(2));
      expect(await taken.take(2)).toEqual([1, 2]);
      expect(reporter.rejections.map(({ error }) => error.message)).toEqual(
        Array(2).fill(expect.stringContaining('part of a history')),
      );
      await hub.close();
    },
  );

  test('may change it one after the other: each accepts signatures of both', async () => {
    const broker = new MemoryBroker();
    await using a = await nodeOn(broker, secret, other);
    await using b = await nodeOn(broker, other, secret);
    expect(await a.requests.ask(b.hub.node, 1, 60_000)).toEqual({ got: 1 });
    expect(await b.requests.ask(a.hub.node, 2, 60_000)).toEqual({ got: 2 });
    expect([...a.reporter.faultsOfServers, ...b.reporter.faultsOfServers]).toEqual([]);
  });

  test('and nodes without one: both report it once, and the question gets no answer', async () => {
    const broker = new MemoryBroker();
    await using signing = await nodeOn(broker, secret);
    await using plain = await nodeOn(broker);
    for (let count = 0; count < 2; count++) {
      await expect(plain.requests.ask(signing.hub.node, 1, 20)).rejects.toThrow('did not answer');
      await expect(signing.requests.ask(plain.hub.node, 1, 20)).rejects.toThrow('did not answer');
    }
    expect(signing.reporter.faultsOfServers).toEqual([
      expect.stringContaining('a server of this application has no "secret"'),
    ]);
    expect(plain.reporter.faultsOfServers).toEqual([expect.stringContaining('this one has no secret')]);
  });

  test('and nodes with another secret report it once', async () => {
    const broker = new MemoryBroker();
    await using a = await nodeOn(broker, secret);
    await using b = await nodeOn(broker, other);
    for (let count = 0; count < 2; count++) {
      await expect(a.requests.ask(b.hub.node, 1, 20)).rejects.toThrow('did not answer');
    }
    expect(b.reporter.faultsOfServers).toEqual([
      expect.stringContaining('with a signature that no "secret" of this server has made'),
    ]);
  });

  test('sign the library’s entries in histories, and refuse foreign entries there', async () => {
    const kept = reservedChannel<number>('kept', undefined, {
      history: { maxMessages: 10, ttlMs: 60_000 },
    }) as Channel<number>;
    const broker = new MemoryBroker();
    await using a = await nodeOn(broker, secret);
    await using b = await nodeOn(broker, secret);
    await using neighbour = await neighbourOn(broker);
    expect(await a.hub.post(kept, 1)).toBe(true);
    const forged = envelopeOf(2, kept.name);
    await neighbour.transport.history.append(kept.name, { payload: forged }, { maxMessages: 10, ttlMs: 60_000 });
    expect(await a.hub.post(kept, 3)).toBe(true);
    const { deliveries } = await b.hub.readHistory(kept.name, 10);
    expect(deliveries.map(({ message }) => message)).toEqual([1, 3]);
    expect(b.reporter.rejections).toEqual([
      { channel: kept.name, error: expect.objectContaining({ message: 'it is not signed (option "secret")' }) },
    ]);
  });
});
