import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from '@jest/globals';
import { Batch } from '../../../lib/sse/batch.js';
import { SseConnection, type ConnectionObserver } from '../../../lib/sse/connection.js';
import { Flusher } from '../../../lib/sse/flusher.js';
import { Frame } from '../../../lib/sse/frame.js';
import { RawClient } from '../../support/raw-client.js';
import { turns } from '../../support/turns.js';

const MAX_BYTES = 4_000_000;
const long = (length: number) => new Frame(Buffer.alloc(length, 'x'));

const isBehind = (connection: SseConnection) => connection['behind'] !== undefined;

/** Connections whose readers take nothing, as many as are asked for. */
class Stalled implements AsyncDisposable {
  readonly flusher = new Flusher();
  readonly connections: SseConnection[] = [];
  private readonly clients: RawClient[] = [];
  private readonly server: http.Server;

  private constructor(observer: Partial<ConnectionObserver>) {
    const all = { slowConsumer: () => {}, responseTaken: () => {}, writeFailed: () => {}, ...observer };
    this.server = http.createServer((_request, response) => {
      const options = { maxBufferedBytes: MAX_BYTES, retryMs: undefined };
      const connection = new SseConnection(response, options, this.flusher, all);
      connection.open();
      this.connections.push(connection);
    });
  }

  static async start(count: number, observer: Partial<ConnectionObserver> = {}): Promise<Stalled> {
    const stalled = new Stalled(observer);
    const { server, clients, connections } = stalled;
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    for (let index = 0; index < count; index++) {
      const client = await RawClient.connect(url);
      clients.push(client);
      client.get('/');
      await client.until(':\n');
      client.stall();
    }
    // Until the network takes no more of any.
    while (!connections.every(isBehind)) {
      for (const connection of connections) if (connection.keepsUp) connection.send(long(1_000_000));
      await turns(1);
    }
    return stalled;
  }

  /** Sends all of them the same. */
  sendAll(batch: Batch): void {
    for (const connection of this.connections) connection.sendAll(batch);
  }

  /** Everything that the readers get from now on, once their streams have ended. */
  async read(): Promise<string[]> {
    for (const client of this.clients) client.resume();
    await Promise.all(this.clients.map((client) => client.until('end\n\r\n0\r\n')));
    return this.clients.map(({ received }) => received);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) await client[Symbol.asyncDispose]();
    this.server.closeAllConnections();
    this.server.close();
  }
}

test('readers that are behind when their streams end share the bytes of what they are sent', async () => {
  await using stalled = await Stalled.start(4);
  stalled.sendAll(
    Batch.empty()
      .add(long(3_000_000))
      .add(new Frame(Buffer.from('last\n'))),
  );
  const before = process.memoryUsage().arrayBuffers;
  for (const connection of stalled.connections) connection.end(Buffer.from('end\n'));
  const bytes = process.memoryUsage().arrayBuffers - before;
  expect(bytes).toBeLessThan(4_000_000);
  for (const received of await stalled.read()) expect(received).toMatch(/last\n\r\n4\r\nend\n\r\n0\r\n/);
});

test('a reader is cut off once, also if its end makes the application send more', async () => {
  const cutOff: number[] = [];
  await using stalled = await Stalled.start(1, {
    slowConsumer: (bytes) => {
      cutOff.push(bytes);
      if (cutOff.length < 5) stalled.connections[0]!.send(long(1));
    },
  });
  for (const length of [MAX_BYTES, MAX_BYTES, 1]) stalled.connections[0]!.send(long(length));
  expect(cutOff).toHaveLength(1);
  expect(cutOff[0]).toBeGreaterThan(MAX_BYTES);
});
