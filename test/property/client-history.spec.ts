import { afterEach, describe, expect, test } from '@jest/globals';
import { defineChannel } from '../../lib/protocol/channel.js';
import type { PositionEvent, ReplayEvent } from '../../lib/protocol/gateway.js';
import type { Position } from '../../lib/protocol/position.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { GatewayNode, type StreamReader } from '../support/gateway-node.js';
import { randomFrom, type Random } from '../support/random.js';

const Orders = defineChannel<number>('client-history-property/orders', undefined, {
  history: { maxMessages: 100_000, ttlMs: 3_600_000 },
});
const { name: channel } = Orders;

afterEach(() => GatewayNode.closeAll());

/** A client of our form that leaves and returns. All of its messages, put together, must have no hole and no duplicate. */
class Client {
  /** Up to where it has everything. */
  position: Position | undefined;
  /** The offsets that each of its listeners received. */
  readonly listeners = new Map<string, { offsets: number[]; isDone: boolean }>();
  readonly wrong: string[] = [];
  private reader: StreamReader | undefined;
  private page: string | undefined;
  private seen = 0;

  constructor(readonly isNative: boolean) {}

  get isOpen(): boolean {
    return this.reader !== undefined;
  }

  open(node: GatewayNode, lastEventId?: string): void {
    this.page = undefined;
    this.seen = 0;
    const wanted = this.position === undefined ? channel : { channel, position: this.position };
    this.reader = this.isNative ? node.get([channel], lastEventId) : node.connect([wanted]);
  }

  get lastEventId(): string | undefined {
    return this.reader?.lastEventId;
  }

  /** @returns the last event id that a native EventSource keeps */
  close(): string | undefined {
    this.read();
    const { lastEventId } = this;
    this.reader?.close();
    this.reader = undefined;
    for (const [listener, { isDone }] of this.listeners) if (!isDone) this.listeners.delete(listener);
    return lastEventId;
  }

  replay(listener: string, start: number | Position): void {
    if (this.reader === undefined || this.isNative || this.position === undefined) return;
    this.listeners.set(listener, { offsets: [], isDone: false });
    void this.reader.connection.subscribe([{ channel }], new Map(), [{ channel, listener, start }]);
  }

  /** Takes everything that has arrived. */
  read(): void {
    const come = this.reader?.events.pending.slice(this.seen) ?? [];
    this.seen += come.length;
    for (const { event, id, data } of come) {
      const told = JSON.parse(data) as Partial<PositionEvent & ReplayEvent>;
      if (event === 'messaging:replay') this.takePage(told as ReplayEvent);
      else if (event === 'messaging:gap') this.takeGap(data);
      else if (event?.startsWith('messaging:')) this.takePosition(told.channels ?? []);
      else this.takeMessage(this.isNative ? offsetIn(id!) : Number(id), id);
    }
  }

  /** Only a client that came while the channel's position was unknown, and has read nothing, may have one. */
  private takeGap(reason: string): void {
    if (this.position !== undefined || !reason.includes('broker')) this.wrong.push(`a gap: ${reason}`);
  }

  private takePage({ listener, done }: ReplayEvent): void {
    this.page = done === undefined ? listener : undefined;
    if (done === true) this.listeners.get(listener)!.isDone = true;
  }

  private takePosition(channels: PositionEvent['channels']): void {
    for (const { position, recovered, reason } of channels) {
      if (recovered === false) this.takeGap(reason!);
      if (position === undefined) continue;
      if (this.position !== undefined && position.offset !== this.position.offset) {
        this.wrong.push(`at ${this.position.offset}, told ${position.offset}`);
      }
      this.position = position;
    }
  }

  private takeMessage(offset: number, id?: string): void {
    if (Number.isNaN(offset)) this.wrong.push(`id ${id}`);
    if (this.page !== undefined) return void this.listeners.get(this.page)?.offsets.push(offset);
    // A native EventSource does not know where it began.
    if (this.position !== undefined && offset !== this.position.offset + 1) {
      this.wrong.push(`${offset} after ${this.position.offset}`);
    }
    this.position = { epoch: this.position?.epoch ?? '', offset };
    for (const { offsets, isDone } of this.listeners.values()) if (isDone) offsets.push(offset);
  }
}

/** How far a native stream has come in its one channel, by its id. */
function offsetIn(id: string): number {
  return Number.parseInt(id.split('~').at(-1)!, 36);
}

/** @returns the errors in the messages of clients */
async function run(random: Random): Promise<string[]> {
  const broker = new MemoryBroker();
  const nodes = [await GatewayNode.start(broker), await GatewayNode.start(broker), await GatewayNode.start(broker)];
  const clients = Array.from({ length: 6 }, (_, index) => new Client(index % 3 === 2));
  const remembered = new Map<Client, string | undefined>();
  const post = async (count: number): Promise<void> => {
    for (let each = 0; each < count; each++) await nodes[random(3)]!.hub.post(Orders, each);
  };
  const toggle = (client: Client): void => {
    // A native EventSource keeps its id if a stream ends before it has sent one.
    if (client.isOpen) remembered.set(client, client.close() ?? remembered.get(client));
    else client.open(nodes[random(3)]!, remembered.get(client));
  };
  for (let step = 0; step < 60; step++) {
    const client = clients[random(clients.length)]!;
    const kind = random(10);
    if (kind < 4) void post(1 + random(random(4) === 0 ? 300 : 3));
    else if (kind < 7) toggle(client);
    else if (kind === 7) client.replay(`${step}`, random(2) === 0 ? 1 + random(300) : { epoch: '', offset: 0 });
    else if (kind === 8) broker.cut(nodes[random(3)]!.transport);
    else broker.heal();
    for (let turn = random(8); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
    clients.forEach((each) => each.read());
  }
  broker.heal();
  await post(1);
  for (const client of clients) if (!client.isOpen) toggle(client);
  // Until all clients have reached the end, and their listeners too.
  let posted = 0;
  const isDone = (client: Client): boolean =>
    (client.position?.offset ?? (client.isNative ? posted : -1)) === posted &&
    [...client.listeners.values()].every(({ isDone: isOver }) => isOver);
  const until = performance.now() + 3_000;
  do {
    await new Promise((resolve) => setTimeout(resolve, 5));
    ({ offset: posted } = await nodes[0]!.hub.positionOf(channel));
    clients.forEach((client) => client.read());
  } while (!clients.every(isDone) && performance.now() < until);
  return clients.flatMap((client) => faultsOf(client, posted));
}

function faultsOf({ wrong, position, listeners, isNative }: Client, posted: number): string[] {
  // A client that has come after the last message receives nothing.
  const isAtEnd = (isNative && position === undefined) || position?.offset === posted;
  const faults = isAtEnd ? wrong : [...wrong, `at ${position?.offset} of ${posted}`];
  for (const { offsets } of listeners.values()) {
    // A message for all may have been in its past already.
    const distinct = [...new Set(offsets)];
    const isWhole = distinct.every((offset, index) => offset === distinct[0]! + index) && distinct.at(-1) === posted;
    if (!isWhole) faults.push(`a listener was given ${distinct.join(',')} of ${posted}`);
  }
  return faults;
}

describe('Clients of a channel with history that come, go and look back at random', () => {
  test.each(Array.from({ length: 15 }, (_, seed) => seed))(
    'have each message once and in order, whatever is cut (%i)',
    async (seed) => expect(await run(randomFrom(seed))).toEqual([]),
    20_000,
  );
});
