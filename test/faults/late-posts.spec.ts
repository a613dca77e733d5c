import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { TcpProxy } from 'nestjs-messaging/testing';
import { RedisNodes, reached } from '../support/redis-nodes.js';

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

function envelope(serial: number, channel: string): string {
  return `{"metadata":{"v":1,"node":"a","at":1,"n":${serial}},"pattern":"${channel}","data":${serial}}`;
}

// A network that has lost packets repeats them, also those of a connection that the server has given up meanwhile.
describe('Posts of a connection that a server has given up', () => {
  test.each(['rooms/1', 'rooms/:roomId'])(
    'are dropped if they reach Redis behind later ones, by listeners of %s',
    async (name) => {
      const server = await nodes.server();
      const line = nodes.use(await TcpProxy.start(server.port));
      const [a] = await nodes.node({ port: line.port, publishTimeoutMs: 20_000 });
      const [, told] = await nodes.listener(server.url, [name]);
      const looker = nodes.probe(server).redis.duplicate();
      const late = new Promise((resolve) =>
        looker.on('message', (_, text) => text === envelope(2, 'rooms/1') && resolve(text)),
      );
      await looker.subscribe('messaging:|rooms/1');
      const post = (serial: number): Promise<boolean> =>
        a.publish('rooms/1', envelope(serial, 'rooms/1'), { isLine: true });
      expect(await post(1)).toBe(true);
      line.stall('up');
      const isLost = reached(a, 'waiting');
      expect(await post(2)).toBe(false);
      await isLost;
      await reached(a, 'ready');
      expect(await post(3)).toBe(true);
      line.flow();
      await late;
      expect(await post(4)).toBe(true);
      const heard = [await told.next(), await told.next(), await told.next()];
      expect(heard).toEqual([1, 3, 4].map((serial) => `${name}: ${envelope(serial, 'rooms/1')}`));
      looker.disconnect();
    },
  );
});
