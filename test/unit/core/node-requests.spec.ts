import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Hub } from '../../../lib/core/hub.js';
import { NodeRequests } from '../../../lib/core/node-requests.js';
import { reservedChannel, type Channel } from '../../../lib/protocol/channel.js';
import { LimitExceededError, TransportUnavailableError, UnserializableError } from '../../../lib/protocol/errors.js';
import { Deferred } from '../../../lib/core/deferred.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

afterEach(() => void jest.useRealTimers());

const MAX_BYTES = 1_048_576;

/** A node that answers with the result of `answer`. */
class Node implements AsyncDisposable {
  readonly reporter = new RecordingReporter();
  readonly asked = new Queue<unknown>();
  readonly hub: Hub;
  readonly requests: NodeRequests;

  readonly transport: MemoryTransport;

  private constructor(broker: MemoryBroker, answer: (body: unknown) => unknown) {
    this.transport = new MemoryTransport(broker);
    this.hub = new Hub({ reporter: this.reporter, transport: this.transport });
    this.requests = new NodeRequests(this.hub, async (body) => {
      this.asked.push(body);
      return answer(body);
    });
  }

  static async start(broker: MemoryBroker, answer: (body: unknown) => unknown = (body) => ({ got: body })) {
    const node = new Node(broker, answer);
    const listeners = node.requests.listen();
    await node.hub.start();
    await Promise.all(listeners.map(({ ready }) => ready));
    return node;
  }

  get pending(): number {
    return (this.requests['pending'] as Map<string, unknown>).size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.close();
  }
}

/** The timers of this many milliseconds, as they are set. */
const timersOf = (set: jest.Spied<typeof setTimeout>, ms: number): NodeJS.Timeout[] =>
  set.mock.results.filter((_, index) => set.mock.calls[index]![1] === ms).map(({ value }) => value as NodeJS.Timeout);

const channelOf = (node: Node) => reservedChannel(`node/${node.hub.node}`) as Channel;

function fakeTime(): void {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
}

/** Passes fake time, in steps between which nodes do their work. */
async function pass(broker: MemoryBroker, ms: number): Promise<void> {
  for (let past = 0; past < ms; past += 50) {
    await broker.turn();
    await broker.turn();
    jest.advanceTimersByTime(50);
  }
}

function askAll(node: Node, ids: readonly string[]) {
  return Promise.allSettled(ids.map((id) => node.requests.askIfThere(id, 'x', 60_000)));
}

/** A node that answers with the question, and the question `slow` only later. */
function slowNode(broker: MemoryBroker, later: Deferred): Promise<Node> {
  return Node.start(broker, async (body) => {
    if (body === 'slow') await later.promise;
    return body;
  });
}

describe('A request to another node', () => {
  test('is answered by that node alone', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    await using c = await Node.start(broker);

    expect(await a.requests.ask(b.hub.node, { question: [1, 'x', null] }, 60_000)).toEqual({
      got: { question: [1, 'x', null] },
    });

    expect([a, b, c].map(({ asked }) => asked.pending.length)).toEqual([0, 1, 0]);
    expect(a.pending).toBe(0);
  });

  test('keeps its answer separate from other pending answers', async () => {
    const broker = new MemoryBroker();
    const slow = new Deferred();
    await using a = await Node.start(broker);
    await using b = await slowNode(broker, slow);
    const first = a.requests.ask(b.hub.node, 'slow', 60_000);
    expect(await a.requests.ask(b.hub.node, 'quick', 60_000)).toBe('quick');
    slow.resolve();
    expect(await first).toBe('slow');
  });

  test('fails if no answer comes in time, and a later answer does no harm', async () => {
    const broker = new MemoryBroker();
    const late = new Deferred();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker, () => late.promise);

    const error: unknown = await a.requests.ask(b.hub.node, 'x', 1).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(TransportUnavailableError);
    expect((error as Error).message).toBe(
      `Another server could not be asked: node ${b.hub.node} did not answer within 1 ms`,
    );
    expect(a.pending).toBe(0);

    late.resolve();
    await b.asked.next();
    await a.hub.post('flush', 1, { global: true });
    expect(a.reporter.listenerFailures).toEqual([]);
  });

  test('does not fail if this process was too busy to read the answer in time', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker, (body) => {
      const begun = performance.now();
      while (performance.now() - begun < 60);
      return body;
    });
    // The answer is on its way when the time is over, and is read in the turn of the loop that the timeout begins.
    expect(await a.requests.ask(b.hub.node, 'x', 50)).toBe('x');
  });

  test('fails at once if the broker does not accept it', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    broker.cut();
    await expect(a.requests.ask(b.hub.node, 'x', 60_000)).rejects.toThrow('the broker did not accept the request');
    expect(a.pending).toBe(0);
  });

  test('fails when this node shuts down', async () => {
    const broker = new MemoryBroker();
    const a = await Node.start(broker);
    await using b = await Node.start(broker, () => new Promise(() => {}));
    const answer = a.requests.ask(b.hub.node, 'x', 60_000);
    await b.asked.next();
    await Promise.all([expect(answer).rejects.toThrow('the application shuts down'), a.hub.close()]);
  });

  test('leaves no timer behind when it is answered', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    const cleared = jest.spyOn(globalThis, 'clearTimeout');
    await a.requests.ask(b.hub.node, 'x', 60_000);
    expect(cleared).toHaveBeenCalledTimes(1);
    cleared.mockRestore();
  });

  test('with a failing answer is reported on the answering node, and fails at once on the asking one', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker, () => {
      throw new Error('no answer to that');
    });
    await expect(a.requests.ask(b.hub.node, 'x', 60_000)).rejects.toThrow(
      new TransportUnavailableError(
        'Another server could not be asked: it failed while it made the answer; its log says why',
      ),
    );
    expect(b.reporter.callbackFailures).toMatchObject([
      { callback: 'The answer to another server', error: { message: 'no answer to that' } },
    ]);
    expect(a.pending).toBe(0);
  });

  test.each([
    ['longer than a message may be', 'x'.repeat(2_000_000)],
    ['not serializable', () => {}],
  ])('that is %s fails at once, with the cause, and leaves nothing behind', async (_case, body) => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);

    const error: unknown = await a.requests.ask(b.hub.node, { body }, 60_000).catch((caught: unknown) => caught);

    expect(error).toBeInstanceOf(typeof body === 'string' ? LimitExceededError : UnserializableError);
    expect(a.pending).toBe(0);
    expect(b.asked.pending).toEqual([]);
    expect(await a.requests.ask(b.hub.node, 'short', 60_000)).toEqual({ got: 'short' });
  });

  test('may be as long as a message, like an answer and a post, and not one byte longer, with 50 at once', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker, (body) => (typeof body === 'number' ? 'x'.repeat(body) : 'taken'));
    const published = jest.spyOn(MemoryTransport.prototype, 'publish');
    /** The length of the longest payload that is sent, and the amount of data in it. */
    const longest = async (send: (length: number) => Promise<unknown>): Promise<[bytes: number, length: number]> => {
      let [passes, fails] = [0, MAX_BYTES + 1];
      let bytes = 0;
      while (fails - passes > 1) {
        const length = (passes + fails) >> 1;
        published.mockClear();
        const isSent = await send(length).then(
          () => true,
          () => false,
        );
        if (!isSent) fails = length;
        else {
          passes = length;
          bytes = Math.max(...published.mock.calls.map(([, payload]) => Buffer.byteLength(payload)));
        }
      }
      return [bytes, passes];
    };
    const question = (length: number) => a.requests.ask(b.hub.node, 'x'.repeat(length), 60_000);
    const answer = (length: number) => a.requests.ask(b.hub.node, length, 60_000);
    const post = async (length: number) => a.hub.post('news', 'x'.repeat(length), { scope: 'global' });
    for (const send of [question, answer, post]) {
      const [bytes, length] = await longest(send);
      // Variable parts, such as message numbers, take a few bytes.
      expect(bytes).toBeLessThanOrEqual(MAX_BYTES);
      expect(bytes).toBeGreaterThan(MAX_BYTES - 10);
      const all = await Promise.allSettled(Array.from({ length: 50 }, () => send(length + 10)));
      expect(
        new Set(all.map((each) => each.status === 'rejected' && each.reason instanceof LimitExceededError)),
      ).toEqual(new Set([true]));
    }
    published.mockRestore();
  });

  test('with an answer longer than a message may be fails at once on both sides', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker, () => 'x'.repeat(2_000_000));
    await expect(a.requests.ask(b.hub.node, 'x', 60_000)).rejects.toThrow(LimitExceededError);
    expect(a.pending).toBe(0);
    expect(b.reporter.callbackFailures).toMatchObject([{ error: { code: 'LIMIT_EXCEEDED' } }]);
  });

  test.each([[''], ['------------------------------------'], [':node'], ['x'.repeat(300)]])(
    'to %j, which is no id of a server, fails at once',
    async (node) => {
      const broker = new MemoryBroker();
      await using a = await Node.start(broker);
      await expect(a.requests.ask(node, 'x', 60_000)).rejects.toThrow("is no server's id");
      expect(a.pending).toBe(0);
    },
  );

  const id = '6b29fc40-ca47-1067-b31d-00dd010662da';
  test.each([
    [null, 'a packet of another node is not null'],
    ['text', 'a packet of another node is not a string'],
    [{}, '"id" of a packet'],
    [{ kind: 'question', id: 'x'.repeat(1_000_000), from: id }, '"id" of a packet'],
    [{ kind: 'question', id }, '"from" of a packet'],
    [{ kind: 'call', id }, '"from" of a packet'],
    [{ kind: 'question', id, from: `${id}/other` }, '"from" of a packet'],
    [{ kind: 'question', id, from: ':node' }, '"from" of a packet'],
    [{ kind: 'question', id, from: [id] }, '"from" of a packet'],
    [{ kind: 'failure', id, reason: '<script>' }, '"reason" of a packet'],
    [{ kind: 'order', id, from: id }, '"kind" of a packet'],
    [{ kind: 'call', id, from: id, of: ':node' }, '"of" of a packet'],
    [{ kind: 'call', id, from: id, left: id }, '"left" of a packet'],
    [{ kind: 'call', id, from: id, left: [id, '*'] }, '"left" of a packet'],
    [{ kind: 'call', id, from: id, left: Array.from({ length: 101 }, () => id) }, '"left" of a packet'],
  ])('that is invalid, case %#, is reported and gets no answer', async (packet, text) => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    void a.hub.post(channelOf(b), packet, { global: true });
    expect(await a.requests.ask(b.hub.node, 'good', 60_000)).toEqual({ got: 'good' });
    expect(b.asked.pending).toEqual(['good']);
    expect(b.reporter.rejections).toMatchObject([{ channel: channelOf(b).name }]);
    expect(b.reporter.rejections[0]!.error.message).toContain(text);
    expect(b.reporter.rejections[0]!.error.message.length).toBeLessThan(250);
    expect(b.reporter.listenerFailures).toEqual([]);
  });
});

describe('A question to all other nodes', () => {
  test('is answered by each of them, and not by the asking node', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    await using c = await Node.start(broker, () => 'of c');
    const { bodies, areComplete } = await a.requests.askOthers('x', 60_000);
    expect([new Set(bodies), areComplete]).toEqual([new Set([{ got: 'x' }, 'of c']), true]);
    expect([a, b, c].map(({ asked }) => asked.pending)).toEqual([[], ['x'], ['x']]);
    expect(a.requests['polls'].size).toBe(0);
  });

  test('is complete at once if there is no other node, and is not sent', async () => {
    await using a = await Node.start(new MemoryBroker());
    const post = jest.spyOn(a.hub, 'post');
    expect(await a.requests.askOthers('x', 60_000)).toMatchObject({ bodies: [], areComplete: true });
    expect(post).not.toHaveBeenCalled();
  });

  test('is not complete if one of them fails to answer, or does not answer in time', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    await using c = await Node.start(broker, () => Promise.reject(new Error('broken')));
    expect(await a.requests.askOthers('x', 60_000)).toMatchObject({ bodies: [{ got: 'x' }], areComplete: false });
    jest.spyOn(c.hub, 'post').mockResolvedValue(true);
    expect(await a.requests.askOthers('x', 50)).toMatchObject({ bodies: [{ got: 'x' }], areComplete: false });
    expect(b.asked.pending).toEqual(['x', 'x']);
  });

  test('is not complete if the broker is away, or if the number of nodes is unknown', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    jest.spyOn(a.hub, 'hearers').mockResolvedValueOnce(undefined);
    expect(await a.requests.askOthers('x', 50)).toMatchObject({ bodies: [{ got: 'x' }], areComplete: false });
    broker.cut();
    expect(await a.requests.askOthers('x', 60_000)).toMatchObject({ bodies: [], areComplete: false });
    expect(b.asked.pending).toEqual(['x']);
  });

  test('is not complete while the broker does not count the asking node, and takes another one for it', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    const { transport } = a;
    jest.spyOn(transport, 'hearers').mockImplementation(async () => {
      // The one that is counted is b.
      broker.cut(transport);
      broker.heal(transport);
      for (let turn = 0; turn < 10; turn++) await broker.turn();
      return 1;
    });
    expect(await a.requests.askOthers('x', 60_000)).toMatchObject({ bodies: [], areComplete: false });
    expect(b.asked.pending).toEqual([]);
  });

  test('is not complete if a node comes while the others answer', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    const answer = new Deferred();
    await using b = await Node.start(broker, () => answer.promise.then(() => 'of b'));
    const asking = a.requests.askOthers('x', 60_000);
    await b.asked.next();
    await using _ = await Node.start(broker);
    answer.resolve();
    expect(await asking).toMatchObject({ bodies: ['of b'], areComplete: false });
  });

  test('goes out to the others even if this node hears nothing', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    jest.spyOn(a.requests, 'barrier').mockReturnValue(new Promise(() => {}));
    expect(await a.requests.askOthers('x', 50)).toMatchObject({ areComplete: false });
    expect(b.asked.pending).toEqual(['x']);
  });

  test('ends with the application', async () => {
    const broker = new MemoryBroker();
    const a = await Node.start(broker);
    await using b = await Node.start(broker, () => new Deferred().promise);
    const asking = a.requests.askOthers('x', 60_000);
    await b.asked.next();
    await a.hub.close();
    expect(await asking).toMatchObject({ bodies: [], areComplete: false });
  });
});

describe('Whether there are other nodes', () => {
  test('is known as soon as one of them answers', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    await using c = await Node.start(broker);
    expect(await a.requests.hasOthers(60_000)).toBe(true);
    expect([a, b, c].map(({ pending }) => pending)).toEqual([0, 0, 0]);
    // No node is asked anything.
    expect([a, b, c].flatMap(({ asked }) => asked.pending)).toEqual([]);
  });

  test('is denied at once, without a question, if the broker knows no other', async () => {
    await using a = await Node.start(new MemoryBroker());
    const post = jest.spyOn(a.hub, 'post');
    expect(await a.requests.hasOthers(60_000)).toBe(false);
    expect(post).not.toHaveBeenCalled();
    expect(a.pending).toBe(0);
  });

  test('is denied if no node answers in time, and this one does not answer itself', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    const hearers = jest.spyOn(a.hub, 'hearers').mockResolvedValueOnce(undefined);
    expect(await a.requests.hasOthers(1)).toBe(false);
    expect(hearers).toHaveBeenCalledTimes(2);
    expect(a.pending).toBe(0);
  });

  test('is known from the broker if the others are too busy to answer', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    jest.spyOn(b.hub, 'post').mockResolvedValue(true);
    // The broker gets time for its first count, even on a busy machine.
    expect(await a.requests.hasOthers(50)).toBe(true);
  });

  test.each([
    ['that does not answer', []],
    ['that answers no more, and may have counted this one', [1]],
  ])('is denied in time by a broker %s', async (_what, counts) => {
    await using a = await Node.start(new MemoryBroker());
    const hearers = jest.spyOn(a.hub, 'hearers').mockReturnValue(new Deferred<number>().promise);
    for (const count of counts) hearers.mockResolvedValueOnce(count);
    expect(await a.requests.hasOthers(1)).toBe(false);
    expect(a.pending).toBe(0);
  });

  test('is known from a broker that answers no more, if it has counted another before', async () => {
    await using a = await Node.start(new MemoryBroker());
    const hearers = jest.spyOn(a.hub, 'hearers').mockReturnValue(new Deferred<number>().promise);
    hearers.mockResolvedValueOnce(2);
    expect(await a.requests.hasOthers(1)).toBe(true);
  });

  test('is denied at once if the broker is away', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    broker.cut();
    expect(await a.requests.hasOthers(60_000)).toBe(false);
    expect(b.reporter.listenerFailures).toEqual([]);
  });
});

describe('A request to a node that may be gone', () => {
  test('looks for it once, however many ask, sends it nothing, and gives it up for all of them', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    fakeTime();
    const [looks, posts] = [jest.spyOn(a.hub, 'hearers'), jest.spyOn(a.hub, 'post')];
    const gone = randomUUID();
    const first = askAll(
      a,
      Array.from({ length: 100 }, () => gone),
    );
    const looksAtIt = () => looks.mock.calls.filter(([name]) => name.endsWith(gone)).length;
    await pass(broker, 3_000);
    for (const { status } of await first) expect(status).toBe('rejected');
    expect(looksAtIt()).toBe(11);
    // A later question does not wait again.
    expect((await askAll(a, [gone]))[0]).toMatchObject({ reason: { code: 'TRANSPORT_UNAVAILABLE' } });
    expect(looksAtIt()).toBe(12);
    expect(posts).not.toHaveBeenCalled();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('goes out as soon as the node is back, even if it was given up', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    fakeTime();
    const looks = jest.spyOn(a.hub, 'hearers').mockResolvedValue(0);
    const answer = a.requests.askIfThere(b.hub.node, 'first', 60_000);
    await pass(broker, 500);
    expect(b.asked.pending).toEqual([]);
    looks.mockRestore();
    await pass(broker, 500);
    expect(await answer).toEqual({ got: 'first' });
    const away = jest.spyOn(a.hub, 'hearers').mockResolvedValue(0);
    const given = askAll(a, [b.hub.node]);
    await pass(broker, 3_000);
    expect((await given)[0]!.status).toBe('rejected');
    away.mockRestore();
    expect(await a.requests.askIfThere(b.hub.node, 'again', 60_000)).toEqual({ got: 'again' });
  });

  test('that changes nothing is sent again each half second if it or its answer is lost, and is not answered twice at a time', async () => {
    const broker = new MemoryBroker();
    const slow = new Deferred();
    await using a = await Node.start(broker);
    await using b = await slowNode(broker, slow);
    fakeTime();
    for (const { hub } of [a, b]) {
      // Accepted by the broker, but one of the nodes was not subscribed.
      jest.spyOn(hub, 'post').mockResolvedValueOnce(true);
      const answer = a.requests.askIfThere(b.hub.node, 'lost', 6_000, performance.now());
      await pass(broker, 1_100);
      expect(await answer).toBe('lost');
    }
    expect(b.asked.pending).toEqual(['lost', 'lost', 'lost']);
    const answer = a.requests.askIfThere(b.hub.node, 'slow', 6_000, performance.now());
    await pass(broker, 3_500);
    expect(b.asked.pending).toEqual(['lost', 'lost', 'lost', 'slow']);
    slow.resolve();
    expect(await answer).toBe('slow');
    expect(jest.getTimerCount()).toBe(0);
    expect(b.requests['answering'].size).toBe(0);
  });

  test('looks less often for each node if there are many, and remembers a limited number', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    fakeTime();
    const looks = jest.spyOn(a.hub, 'hearers');
    const ids = Array.from({ length: 1_500 }, () => randomUUID());
    const all = askAll(a, ids);
    await pass(broker, 3_000);
    await all;
    // Eleven times each would be 16,500.
    expect(looks.mock.calls.length).toBeLessThan(4_000);
    expect((a.requests['presence']['missing'] as Map<string, unknown>).size).toBe(1_000);
    expect((a.requests['presence']['nextLooks'] as Map<string, unknown>).size).toBe(0);
  });
});

/** When it was given up for a client, after how many milliseconds, in steps of 50. */
async function givenUpAfter(broker: MemoryBroker, node: Node, missing: string, awayMs: number): Promise<number> {
  const begun = performance.now();
  const found = { ms: undefined as number | undefined };
  void node.requests.isThereFor(missing, begun - awayMs).then((isThere) => {
    found.ms = isThere ? -1 : performance.now() - begun;
  });
  while (found.ms === undefined) await pass(broker, 50);
  return Math.round(found.ms / 50) * 50;
}

describe('A node that nobody hears', () => {
  test.each([
    ['has just left it', 0, 2_500],
    ['left it a while ago', 1_000, 1_500],
    ['left it long ago', 2_000, 1_250],
  ])('is given up later for a client that %s', async (_when, awayMs, afterMs) => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    fakeTime();
    expect(await givenUpAfter(broker, a, randomUUID(), awayMs)).toBe(afterMs);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('is given up at once for clients that left it long ago, if this node or another one misses it already', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    fakeTime();
    const missing = randomUUID();
    await givenUpAfter(broker, a, missing, Infinity);
    await pass(broker, 10_000);
    await using later = await Node.start(broker);
    for (const node of [a, b, later]) {
      // The others have to ask.
      expect(await givenUpAfter(broker, node, missing, 10_000)).toBeLessThanOrEqual(node === a ? 0 : 150);
      expect(await givenUpAfter(broker, node, missing, 0)).toBe(2_500);
    }
  });

  test('is waited for anew if it was back meanwhile, or was not missed for a minute', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    fakeTime();
    const missing = randomUUID();
    await givenUpAfter(broker, a, missing, Infinity);
    await pass(broker, 61_000);
    expect(await givenUpAfter(broker, a, missing, Infinity)).toBe(1_250);
    jest.spyOn(a.hub, 'hearers').mockResolvedValueOnce(1);
    expect(await a.requests.isThereFor(missing, 0)).toBe(true);
    await pass(broker, 100);
    expect(await givenUpAfter(broker, a, missing, Infinity)).toBe(1_250);
  });

  test('is given up also if it goes while it is asked', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    const b = await Node.start(broker, () => new Promise(() => {}));
    fakeTime();
    const begun = performance.now();
    const asked = [0, 10_000].map((awayMs) =>
      a.requests.askIfThere(b.hub.node, 'x', 6_000, begun - awayMs).catch((error: Error) => error.message),
    );
    await b.asked.take(2);
    await b[Symbol.asyncDispose]();
    const failures: string[] = [];
    asked.forEach((each) => void each.then((failure) => failures.push(failure as string)));
    await pass(broker, 1_900);
    expect(failures).toEqual([expect.stringContaining('is gone')]);
    await pass(broker, 700);
    expect(failures).toHaveLength(2);
    expect(a.pending).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
  });

  test.each([[{ missingMs: '9000' }], [{ missingMs: -9_000 }], ['missingMs'], [9_000], [{ left: 'true' }]])(
    'is waited for if another node answers %j about it',
    async (report) => {
      const broker = new MemoryBroker();
      await using a = await Node.start(broker);
      await using b = await Node.start(broker);
      jest.spyOn(b.requests['presence'], 'reportOf').mockReturnValue(report as never);
      fakeTime();
      expect(await givenUpAfter(broker, a, randomUUID(), Infinity)).toBe(1_250);
      expect(a.reporter.listenerFailures).toEqual([]);
    },
  );
});

/** Rejects only if nothing waits for time to pass. */
async function failureOf(broker: MemoryBroker, asking: Promise<unknown>): Promise<string> {
  const failed = { text: undefined as string | undefined };
  void asking.catch((error: unknown) => (failed.text = (error as Error).message));
  for (let turn = 0; turn < 50 && failed.text === undefined; turn++) await broker.turn();
  return failed.text ?? 'it still waits';
}

describe('A node that has left for good', () => {
  test('is not waited for by the others, nor by a node that starts later, and is asked nothing', async () => {
    const broker = new MemoryBroker();
    const a = await Node.start(broker);
    await using b = await Node.start(broker);
    fakeTime();
    await a.requests.leave();
    await a[Symbol.asyncDispose]();
    await using c = await Node.start(broker);
    expect(await failureOf(broker, b.requests.askIfThere(a.hub.node, 'x', 60_000))).toContain('is not there');
    expect(await failureOf(broker, b.requests.ask(a.hub.node, 'x', 60_000))).toContain('has left');
    expect(await failureOf(broker, c.requests.askIfThere(a.hub.node, 'x', 60_000))).toContain('is not there');
    // It knows by itself now.
    const posts = jest.spyOn(c.hub, 'post');
    expect(await failureOf(broker, c.requests.askIfThere(a.hub.node, 'x', 60_000))).toContain('is not there');
    expect(posts).not.toHaveBeenCalled();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('ends the wait for it, and fails the questions that it has not answered, behind its last answers', async () => {
    const broker = new MemoryBroker();
    const a = await Node.start(broker, async (body) => (body === 'last' ? body : new Promise(() => {})));
    await using b = await Node.start(broker);
    fakeTime();
    const [last, unanswered] = [b.requests.ask(a.hub.node, 'last', 60_000), b.requests.ask(a.hub.node, 'x', 60_000)];
    const hearers = jest.spyOn(b.hub, 'hearers').mockResolvedValue(0);
    const waits = b.requests.askIfThere(a.hub.node, 'x', 60_000);
    await a.asked.take(2);
    await broker.turn();
    await a.requests.leave();
    expect(await last).toBe('last');
    expect(await failureOf(broker, unanswered)).toContain('has left');
    expect(await failureOf(broker, waits)).toContain('is not there');
    expect(b.pending).toBe(0);
    hearers.mockRestore();
    await a[Symbol.asyncDispose]();
  });

  test('is named again by each node that leaves after it, the last hundred of them', async () => {
    const broker = new MemoryBroker();
    const a = await Node.start(broker);
    const b = await Node.start(broker);
    fakeTime();
    const earlier = Array.from({ length: 150 }, () => randomUUID());
    b.requests['presence'].noteLeft(earlier);
    await a.requests.leave();
    await a[Symbol.asyncDispose]();
    await using c = await Node.start(broker);
    await b.requests.leave();
    await b[Symbol.asyncDispose]();
    for (const node of [a.hub.node, b.hub.node, earlier.at(-98)!])
      expect(await failureOf(broker, c.requests.ask(node, 'x', 60_000))).toContain('has left');
    expect(c.requests['presence']['left'].size).toBe(100);
    expect(c.reporter.rejections).toEqual([]);
  });

  test('is waited for if only nodes of an earlier version know of it, which answer every call alike', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    jest.spyOn(b.requests['presence'], 'reportOf').mockReturnValue(null);
    fakeTime();
    const asking = a.requests.askIfThere(randomUUID(), 'x', 60_000);
    expect(await failureOf(broker, asking)).toBe('it still waits');
    await pass(broker, 3_000);
    expect(await failureOf(broker, asking)).toContain('is not there');
  });

  test('is not told of while the broker is away', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    broker.cut();
    const posts = jest.spyOn(a.hub, 'post');
    await a.requests.leave();
    expect(posts).not.toHaveBeenCalled();
  });
});

test('Concurrent waits until everything has been heard share one wait', async () => {
  const broker = new MemoryBroker();
  await using a = await Node.start(broker);
  const listens = jest.spyOn(a.hub, 'listen');
  const first = a.requests.barrier();
  await broker.turn();
  // The first one may have begun too early for these.
  const others = Array.from({ length: 100 }, () => a.requests.barrier());
  expect(await Promise.all([first, ...others])).toEqual(Array.from({ length: 101 }, () => true));
  expect(listens).toHaveBeenCalledTimes(2);
  await a.requests.barrier();
  expect(listens).toHaveBeenCalledTimes(3);
});

test('Whether everything was heard is unknown if the transport cannot catch up with posts of other nodes', async () => {
  const broker = new MemoryBroker();
  await using a = await Node.start(broker);
  const caughtUp = new Deferred<boolean>();
  const catchUp = jest.spyOn(a.hub, 'catchUp').mockReturnValue(caughtUp.promise);
  const passed = a.requests.barrier();
  while (catchUp.mock.calls.length === 0) await broker.turn();
  caughtUp.resolve(false);
  expect(await passed).toBe(false);
});

test('Everything was heard only once what waits until revocations are read has been passed on', async () => {
  const broker = new MemoryBroker();
  await using a = await Node.start(broker);
  await using b = await Node.start(broker);
  const check = new Deferred();
  void a.hub.gate.guard(
    () => check.promise,
    () => true,
  );
  const heard: unknown[] = [];
  await a.hub.listen(reservedChannel('news') as Channel, (message) => heard.push(message), a.hub.own, 'news').ready;
  await b.hub.post(reservedChannel('news') as Channel, 'waits', { scope: 'auto' });
  const outcome = a.requests.barrier().then((isReached) => [isReached, ...heard]);
  for (let turn = 0; turn < 10; turn++) await broker.turn();
  check.resolve();
  expect(await outcome).toEqual([true, 'waits']);
});

test('Whether everything was heard is unknown if what waits until revocations are read is not passed on in time', async () => {
  const broker = new MemoryBroker();
  await using a = await Node.start(broker);
  fakeTime();
  void a.hub.gate.guard(
    () => new Promise(() => {}),
    () => true,
  );
  const passed = a.requests.barrier();
  await pass(broker, 5_000);
  expect(await passed).toBe(false);
});

describe('An application that shuts down and waits for other nodes is kept alive until', () => {
  test('they have answered or their time is over', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    await using b = await Node.start(broker);
    const post = jest.spyOn(b.hub, 'post').mockResolvedValue(true);
    const set = jest.spyOn(globalThis, 'setTimeout');
    const hasOthers = a.requests.hasOthers(200);
    await broker.turn();
    while (post.mock.calls.length === 0) await broker.turn();
    // It keeps the process alive.
    expect(timersOf(set, 200).map((timer) => timer.hasRef())).toEqual([true]);
    set.mockRestore();
    await hasOthers;
    expect(a.pending).toBe(0);
  });

  test('a missing one is back or given up', async () => {
    const broker = new MemoryBroker();
    await using a = await Node.start(broker);
    const hearers = jest.spyOn(a.hub, 'hearers');
    const set = jest.spyOn(globalThis, 'setTimeout');
    const answer = a.requests.askIfThere(randomUUID(), 'anything', 60_000);
    while (hearers.mock.results.length === 0) await broker.turn();
    await hearers.mock.results[0]!.value;
    await broker.turn();
    // Until the next check.
    expect(timersOf(set, 250).map((timer) => timer.hasRef())).toEqual([true]);
    set.mockRestore();
    hearers.mockResolvedValue(undefined);
    await a.hub.close();
    await expect(answer).rejects.toThrow(TransportUnavailableError);
  });
});
