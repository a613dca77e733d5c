import { describe, expect, test } from '@jest/globals';
import type { HistoryStore } from '../../../lib/core/history-store.js';
import { OrderedChannel } from '../../../lib/core/ordered-channel.js';

function setup() {
  const heard: string[] = [];
  const store = { read: () => Promise.reject(new Error('not needed')) } as unknown as HistoryStore;
  const channel = new OrderedChannel('orders', 'orders', store, {
    message: (payload, _subscription, _channel, { offset }) => heard.push(`${offset}: ${payload}`),
    gap: () => heard.push('gap'),
    failed: () => heard.push('failed'),
  });
  const receive = (offset: number) => channel.receive(`m${offset}`, { epoch: 'e', offset });
  return { channel, heard, receive };
}

describe('An ordered channel', () => {
  test('is only at the place that the store has told when it has heard something: more may be on its way', () => {
    const { channel, receive } = setup();
    channel.beginAt({ epoch: 'e', offset: 5 });
    expect(channel.isAt({ epoch: 'e', offset: 5 })).toBe(false);
    receive(5);
    expect(channel.isAt({ epoch: 'e', offset: 5 })).toBe(true);
  });

  test('delivers what was on its way when the store was asked where the channel is', () => {
    const { channel, heard, receive } = setup();
    // Answers of the store may overtake what it publishes, since that takes another connection.
    channel.beginAt({ epoch: 'e', offset: 5 });
    for (const offset of [4, 5, 5, 6, 4]) receive(offset);
    expect(heard).toEqual(['4: m4', '5: m5', '6: m6']);
  });
});
