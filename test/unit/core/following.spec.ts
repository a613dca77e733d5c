import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import type { Following } from '../../../lib/core/gap-reader.js';
import { createStream } from '../../../lib/core/stream.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const Orders = defineChannel<number>('following/orders', undefined, { history: { maxMessages: 100, ttlMs: 60_000 } });
const Plain = defineChannel<number>('following/plain');
const Rooms = defineChannel('following/rooms/:room', undefined, { history: { maxMessages: 100, ttlMs: 60_000 } });

/** A session whose streams are passed on. */
function setup(offset?: number) {
  const hub = new Hub({ reporter: new RecordingReporter() });
  const session = hub.sessions.open();
  const told = new Queue<string>();
  const waiting = new Queue<() => void>();
  const state = { keepsUp: true };
  const followed: string[] = [];
  const after = offset === undefined ? undefined : { epoch: '', offset };
  const following: Following = {
    after,
    begin: ({ position, replayed }) => told.push(`${replayed ? 'replayed ' : ''}${position!.offset}`),
    end: () => told.push('end'),
    arrived: (position) => told.push(`arrived ${position.offset}`),
    get keepsUp() {
      return state.keepsUp;
    },
    drained: () => new Promise((resolve) => waiting.push(resolve)),
    close: () => told.push('closed'),
  };
  session.tellGapsTo({
    gap: () => told.push('gap'),
    follow: (channel) => {
      followed.push(channel);
      return following;
    },
  });
  return { hub, session, told, waiting, state, followed };
}

describe('A reader that passes on the messages of a stream', () => {
  test('follows the messages of one channel with history, each from start to end, until the subscription ends', async () => {
    const { hub, session, told, followed } = setup();
    for (const channel of [Orders, Plain, Rooms]) {
      const subscription = createStream(hub, channel as typeof Orders, session).subscribe(() => told.push('message'));
      if (channel !== Orders) subscription.unsubscribe();
    }
    expect(followed).toEqual([Orders.name]);
    expect(await told.take(1)).toEqual(['arrived 0']);
    void hub.post(Orders, 7);
    expect(await told.take(3)).toEqual(['1', 'message', 'end']);
    session.close();
    expect(await told.take(1)).toEqual(['closed']);
    expect(told.pending).toEqual([]);
  });

  test('gets earlier messages at its own pace, and later gets live ones of that time', async () => {
    const { hub, session, told, waiting, state } = setup(0);
    for (const number of [1, 2]) void hub.post(Orders, number);
    const read = hub.readHistory.bind(hub);
    hub.readHistory = (...from) => {
      hub.readHistory = read;
      return read(...from).then((page) => {
        void hub.post(Orders, 3);
        return page;
      });
    };
    createStream(hub, Orders, session).subscribe(() => undefined);
    const more = await waiting.next();
    expect(told.pending).toEqual([]);
    state.keepsUp = false;
    more();
    const again = await waiting.next();
    expect(await told.take(4)).toEqual(['replayed 1', 'end', 'replayed 2', 'end']);
    expect(told.pending).toEqual([]);
    state.keepsUp = true;
    again();
    expect(await told.take(3)).toEqual(['replayed 3', 'end', 'arrived 0']);
    void hub.post(Orders, 4);
    expect(await told.take(2)).toEqual(['4', 'end']);
  });
});
