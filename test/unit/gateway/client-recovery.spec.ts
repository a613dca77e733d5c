import { afterEach, describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { InvalidMessageError, TransportUnavailableError } from '../../../lib/protocol/errors.js';
import { ClientConnection } from '../../../lib/gateway/client-connection.js';
import { ClientFeeds } from '../../../lib/gateway/client-feeds.js';
import { ClientRecovery, type RecoveryQuestion } from '../../../lib/gateway/client-recovery.js';
import { Flusher } from '../../../lib/sse/flusher.js';
import type { Frame } from '../../../lib/sse/frame.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

/** Asks another node; each test says how. */
type Ask = (node: string, question: RecoveryQuestion) => Promise<unknown>;

const hubs: Hub[] = [];
afterEach(async () => {
  for (const hub of hubs.splice(0)) await hub.close();
});

/** A node that clients come to. */
async function startNode(
  broker: MemoryBroker,
  ask: Ask = () => Promise.reject(new Error('nobody to ask')),
  limit = 10_000,
) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport: new MemoryTransport(broker) });
  hubs.push(hub);
  await hub.start();
  const feeds = new ClientFeeds(hub, reporter, new Flusher(), 10_000, 100_000);
  const recovery = new ClientRecovery(hub, feeds, reporter, ask, { maxBytes: limit, maxNames: 10 });
  const position = () => {
    const [node, seq] = feeds.position.split('.');
    return { node: node!, seq: Number(seq) };
  };
  return { hub, feeds, recovery, reporter, position };
}

const textOf = (frame: Frame): string => /^data: (.*)$/m.exec(frame.bytes.toString())![1]!;
const messageOf = (frame: Frame): unknown => (JSON.parse(textOf(frame)) as { data: unknown }).data;

const FRAME = 'id: 7\ndata: {"channel":"news","at":1,"data":1}\n\n';
const OPTIONS = { form: 'client', heartbeatMs: 0, maxSubscriptions: 10 } as const;

test('A client that comes back to its node gets once what is posted while its stream begins', async () => {
  const { hub, feeds, reporter, recovery, position } = await startNode(new MemoryBroker());
  feeds.join('news', () => {});
  const before = position();
  void hub.post('news', 'missed');
  const connection = new ClientConnection(hub, feeds, reporter, hub.sessions.open(), OPTIONS);
  const frames = new Queue<Frame>();
  connection
    .stream([{ channel: 'news' }], {
      channels: new Set(['news']),
      find: (names) => {
        void hub.post('news', 'meanwhile');
        return recovery.find(before, names);
      },
    })
    .subscribe((frame) => frames.push(frame as Frame));
  expect((await frames.take(2)).map(messageOf)).toEqual(['missed', 'meanwhile']);
  expect(textOf(await frames.next())).toContain('"recovered":true');
});

describe('A client that comes from another node', () => {
  test('gets once what reaches both nodes while the one asks the other', async () => {
    const broker = new MemoryBroker();
    const old = await startNode(broker);
    await old.feeds.join('news', () => {}).ready;
    const position = old.position();
    await old.hub.post('news', 'missed', { scope: 'global' });
    await old.hub.post('news', 'only there');

    const fresh = await startNode(broker, async (node, question) => {
      expect(node).toBe(old.hub.node);
      // The new one listens by now; so this comes to both, from either of them, before the answer.
      const heard = new Queue<unknown>();
      old.feeds.join('news', heard.push);
      await old.hub.post('news', 'to both', { scope: 'global' });
      await fresh.hub.post('news', 'to both', { scope: 'global' });
      await heard.take(2);
      return JSON.parse(JSON.stringify(old.recovery.answer(question))) as unknown;
    });
    const session = fresh.hub.sessions.open();
    const connection = new ClientConnection(fresh.hub, fresh.feeds, fresh.reporter, session, OPTIONS);
    const frames = new Queue<Frame>();
    connection
      .stream([{ channel: 'news' }, { channel: 'new' }], {
        channels: new Set(['news']),
        find: (names) => fresh.recovery.find(position, names),
      })
      .subscribe((frame) => frames.push(frame as Frame));
    expect((await frames.take(4)).map(messageOf)).toEqual(['missed', 'only there', 'to both', 'to both']);
    expect(JSON.parse(textOf(await frames.next()))).toMatchObject({
      position: fresh.feeds.position,
      channels: [{ channel: 'news', recovered: true }, { channel: 'new' }],
    });
    await fresh.hub.post('news', 'later');
    expect(messageOf(await frames.next())).toBe('later');
  });

  test('is told what is not complete where that node does not know, or has too much to say', async () => {
    const broker = new MemoryBroker();
    const old = await startNode(broker, undefined, 1_000);
    old.feeds.join('news', () => {});
    const position = old.position();
    await old.hub.post('news', 'short');
    const fresh = await startNode(broker, async (_node, question) => old.recovery.answer(question));
    expect(await fresh.recovery.find(position, ['news', 'other'])).toMatchObject({
      messages: [{ id: undefined }],
      complete: ['news'],
    });
    await old.hub.post('news', 'x'.repeat(1_000));
    expect(await fresh.recovery.find(position, ['news'])).toEqual({ messages: [], complete: [] });
  });

  test('whose node is silent waits for it once, and not again for each client', async () => {
    const asked: string[] = [];
    const { recovery, reporter } = await startNode(new MemoryBroker(), (node) => {
      asked.push(node);
      return Promise.reject(new TransportUnavailableError('no answer'));
    });
    for (const node of ['gone', 'gone', 'gone too'])
      expect(await recovery.find({ node, seq: 1 }, ['news'])).toEqual({ messages: [], complete: [] });
    expect(asked).toEqual(['gone', 'gone too']);
    expect(reporter.rejections).toEqual([]);
  });

  test.each([
    null,
    'nothing',
    { messages: [] },
    { messages: [7], complete: [] },
    { messages: [['id', 7]], complete: [] },
    { messages: { length: 1e9 }, complete: [] },
    { messages: [[null, { length: 1e9 }]], complete: [] },
    { messages: [[null, FRAME, 'more']], complete: [] },
    { messages: [['i'.repeat(151), FRAME]], complete: [] },
    { messages: [[null, 'x'.repeat(10_001)]], complete: [] },
    { messages: Array.from({ length: 10_001 }, () => [null, FRAME]), complete: [] },
    { messages: [[null, `event: messaging:revoked\n${FRAME}`]], complete: [] },
    { messages: [[null, `${FRAME}data: x\n\n`]], complete: [] },
    { messages: [[null, 'id: 1\ndata: {"channel":"news",\n\n']], complete: [] },
    { messages: [[null, 'id: 1\ndata: {"channel":7}\n\n']], complete: [] },
    { messages: [], complete: { length: 1e9 } },
    { messages: [], complete: ['news', 'more'] },
    { messages: [], complete: ['n'.repeat(256)] },
  ])('is not disturbed by an answer that is none: %j', async (answer) => {
    const { recovery, reporter } = await startNode(new MemoryBroker(), () => Promise.resolve(answer));
    expect(await recovery.find({ node: 'odd', seq: 1 }, ['news'])).toEqual({ messages: [], complete: [] });
    expect(reporter.rejections).toHaveLength(1);
  });

  test('is given what an answer holds of the channels that were asked for, and nothing of others', async () => {
    const other = FRAME.replace('news', 'secret');
    const answer = {
      messages: [
        ['n.1', FRAME],
        [null, other],
      ],
      complete: ['news'],
    };
    const { recovery, reporter } = await startNode(new MemoryBroker(), () => Promise.resolve(answer));
    const { messages, complete } = await recovery.find({ node: 'old', seq: 1 }, ['news']);
    expect(messages.map(({ id, frame }) => [id, frame.bytes.toString()])).toEqual([['n.1', FRAME]]);
    expect(complete).toEqual(['news']);
    expect(reporter.rejections).toEqual([]);
  });

  test.each([
    undefined,
    { seq: 1, names: { length: 1e9 } },
    { seq: 1, names: [7] },
    { seq: 1, names: ['n'.repeat(256)] },
    { seq: 1, names: Array.from({ length: 11 }, String) },
    { seq: -1, names: [] },
    { seq: 1.5, names: [] },
    { seq: Infinity, names: [] },
    { seq: '1', names: [] },
  ])('is not asked about in a wrong way: %j', async (question) => {
    const { recovery } = await startNode(new MemoryBroker());
    expect(() => recovery.answer(question)).toThrow(InvalidMessageError);
    expect(recovery.answer({ seq: 1, names: Array.from({ length: 10 }, String) })).toEqual({
      messages: [],
      complete: [],
    });
  });

  test('to one without a broker, or for nothing, asks nobody', async () => {
    const reporter = new RecordingReporter();
    const hub = new Hub({ reporter });
    const alone = new ClientRecovery(
      hub,
      new ClientFeeds(hub, reporter, new Flusher(), 10, 100_000),
      reporter,
      () => Promise.reject(new Error('asked')),
      { maxBytes: 10, maxNames: 10 },
    );
    const { recovery } = await startNode(new MemoryBroker());
    for (const found of [
      await alone.find({ node: 'old', seq: 1 }, ['news']),
      await recovery.find({ node: 'old', seq: 1 }, []),
    ])
      expect(found).toEqual({ messages: [], complete: [] });
    expect(reporter.rejections).toEqual([]);
  });
});
