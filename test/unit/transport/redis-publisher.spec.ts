import { afterEach, expect, jest, test } from '@jest/globals';
import type { RedisLink } from '../../../lib/transport/redis-link.js';
import { RedisPublisher } from '../../../lib/transport/redis-publisher.js';

afterEach(() => void jest.useRealTimers());

/** A link in a state that lasts too short to be met on purpose: its socket has ended, and it has not noticed yet. */
class EndedLink {
  isUp = true;
  readonly sent: string[] = [];
  private isWritable = false;
  readonly client = {
    isCluster: false,
    publish: (_: string, payload: string): Promise<number> => {
      // The text of ioredis 5 and 6.
      if (!this.isWritable) {
        return Promise.reject(new Error("Stream isn't writeable and enableOfflineQueue options is false"));
      }
      this.sent.push(payload);
      return Promise.resolve(0);
    },
  };

  comeBack(): void {
    this.isWritable = true;
    this.isUp = true;
  }
}

test('what could not be written is sent, in order, when the link is back', async () => {
  const link = new EndedLink();
  const publisher = new RedisPublisher(5_000, () => undefined);
  publisher.attach(link as unknown as RedisLink);
  const accepted = [publisher.publish('news', '1'), publisher.publish('news', '2')];
  await new Promise(setImmediate);
  link.isUp = false;
  publisher.down();
  accepted.push(publisher.publish('news', '3'));
  link.comeBack();
  publisher.up();
  expect(await Promise.all(accepted)).toEqual([true, true, true]);
  expect(link.sent).toEqual(['1', '2', '3']);
  publisher.close();
});

test('each post waits for its own time', async () => {
  jest.useFakeTimers();
  const publisher = new RedisPublisher(100, () => undefined);
  const settled: string[] = [];
  const first = publisher.publish('news', '1').then(() => settled.push('first'));
  jest.advanceTimersByTime(60);
  const second = publisher.publish('news', '2').then(() => settled.push('second'));
  jest.advanceTimersByTime(40);
  await first;
  expect(settled).toEqual(['first']);
  jest.advanceTimersByTime(60);
  await second;
  publisher.close();
});
