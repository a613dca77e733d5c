import { expect, test } from '@jest/globals';
import { MessagingClient, type MessageGap } from '../../../lib/client/index.js';
import type { LinkReceiver } from '../../../lib/client/link.js';

/** A client whose server is the test. */
function setup() {
  let receiver!: LinkReceiver;
  const listeners: string[] = [];
  const client = new MessagingClient({
    url: 'http://nowhere.test',
    link: (_, given) => {
      receiver = given;
      return {
        want: (channel) => queueMicrotask(() => receiver.answer({ channel })),
        drop: () => undefined,
        replay: (listener, past) => void (past && listeners.push(listener)),
        retryNow: () => undefined,
        close: () => undefined,
      };
    },
  });
  const gaps: MessageGap[] = [];
  client.onGap((gap) => gaps.push(gap));
  return { client, receiver, listeners, gaps };
}

const at = (offset: number) => ({ epoch: 'h.e', offset });
const gapAt = (offset: number) => ({ channel: 'news', reason: 'trimmed', position: at(offset) }) as const;

test('A gap in a channel is reported once if its only listener gets earlier messages, and not if these include the missing ones', () => {
  const { client, receiver, listeners, gaps } = setup();
  void client.subscribe('news', () => undefined, { replay: { epoch: 'e', offset: 1 } });
  const [listener] = listeners as [string];

  receiver.gap(gapAt(9));
  expect(gaps).toEqual([]);
  receiver.replayed({ listener, gap: gapAt(4) });
  expect(gaps.map(({ position }) => position?.offset)).toEqual([4]);
  receiver.replayed({ listener, position: at(12), isDone: true });
  receiver.gap(gapAt(11));
  expect(gaps).toHaveLength(1);
  receiver.gap(gapAt(14));
  expect(gaps.map(({ position }) => position?.offset)).toEqual([4, 14]);
});

test('A gap in a channel is reported if another listener gets no earlier messages', () => {
  const { client, receiver, gaps } = setup();
  void client.subscribe('news', () => undefined, { replay: 1 });
  void client.subscribe('news', () => undefined);
  receiver.gap(gapAt(9));
  expect(gaps).toEqual([{ channel: 'news', reason: 'trimmed', position: { epoch: 'e', offset: 9 } }]);
});
