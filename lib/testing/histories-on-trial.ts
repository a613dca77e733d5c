import { AssertionError, strictEqual } from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { filter, firstValueFrom } from 'rxjs';
import type { ReadBounds } from '../core/channel-log.js';
import {
  BEGINNING,
  type AppendOutcome,
  type HistoryBounds,
  type HistoryPost,
  type HistoryRead,
  type HistoryStore,
  type HistoryTime,
} from '../core/history-store.js';
import type { Transport } from '../core/transport.js';
import type { Position } from '../protocol/position.js';
import { ReceivedMessages } from './received-messages.js';

/** Stores of histories to be tried, and what their readers cannot do themselves. */
export interface HistoryStoreUnderTest {
  /** A transport of one more node, not started, with a `history`; all of them share their histories. */
  connect(): Transport;
  /** Makes the store forget all histories, as a restart without its data does. Resolves when the store answers again. */
  wipe(): void | Promise<void>;
}

export const BOUNDS: HistoryBounds = { maxMessages: 1_000, ttlMs: 60_000 };

/** Something that a store guarantees. */
export type HistoryCheck = (trial: HistoriesOnTrial) => Promise<void>;

/** What a node was handed. */
type Arrival = readonly [payload: string, subscription: string, channel: string, position: Position | undefined];

/** What a node is handed, in order. */
class Arrivals extends ReceivedMessages<Arrival, undefined> {
  readonly receiver = (payload: string, subscription: string, channel: string, position?: Position): void =>
    this.receive([payload, subscription, channel, position], undefined);
}

/** The nodes of one test, and the channel that it is about. */
export class HistoriesOnTrial {
  /** No other test knows it. */
  readonly channel = `rooms/${randomUUID()}`;
  private readonly open: Transport[] = [];

  constructor(private readonly stores: HistoryStoreUnderTest) {}

  /** A node that is ready and subscribed to these names. */
  async node(...names: string[]): Promise<[HistoryStore, Arrivals]> {
    const transport = this.stores.connect();
    this.open.push(transport);
    const arrivals = new Arrivals();
    await transport.start(arrivals.receiver);
    await ready(transport);
    await Promise.all(names.map((name) => transport.subscribe(name)));
    if (transport.history === undefined) throw new AssertionError({ message: 'the transport has no `history`' });
    return [transport.history, arrivals];
  }

  /** Appends at once, and gives the offsets. */
  async append(store: HistoryStore, ...payloads: string[]): Promise<number[]> {
    return (await Promise.all(payloads.map((payload) => this.post(store, { payload })))).map(offsetOf);
  }

  post(store: HistoryStore, post: HistoryPost, bounds = BOUNDS): Promise<AppendOutcome> {
    return store.append(this.channel, post, bounds);
  }

  read(store: HistoryStore, after: Position | number = BEGINNING, page?: ReadBounds): Promise<HistoryRead> {
    return store.read(this.channel, after, page);
  }

  async position(store: HistoryStore, at?: HistoryTime): Promise<Position> {
    const positions = await store.positions([this.channel], at);
    strictEqual(positions.length, 1, 'positions() gives one for each channel');
    return positions[0]!;
  }

  async wipe(): Promise<void> {
    await this.stores.wipe();
    await Promise.all(this.open.map(ready));
  }

  async close(): Promise<void> {
    await Promise.all(this.open.map((transport) => transport.close()));
  }
}

export function offsetOf(outcome: AppendOutcome): number {
  return positionOf(outcome).offset;
}

export function positionOf(outcome: AppendOutcome): Position {
  if (outcome.kind !== 'appended') throw new AssertionError({ message: `append() says "${outcome.kind}"` });
  return outcome.position;
}

/** What was read; nothing but that counts. */
export function plain({ gap, entries, next, end }: HistoryRead): object {
  return {
    gap,
    entries: entries.map(({ offset, payload }) => `${offset} ${payload}`),
    next: { ...next },
    end: { ...end },
  };
}

export function payloadsOf({ entries }: HistoryRead): string[] {
  return entries.map(({ offset, payload }) => `${offset} ${payload}`);
}

async function ready(transport: Transport): Promise<void> {
  await firstValueFrom(transport.status.pipe(filter(({ state }) => state === 'ready')));
}
