// How servers of a cluster forward events to each other without the library.
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import type { Subject } from 'rxjs';
import type { PriceChange } from './fanout-event.js';

const CHANNEL = 'prices';

/** PUBLISH and SUBSCRIBE around a Subject, as in every such server. Returns the posting function. */
export async function byHand(url: string, changes: Subject<PriceChange>): Promise<(event: PriceChange) => void> {
  const [publisher, subscriber] = [new Redis(url), new Redis(url)];
  subscriber.on('message', (_channel: string, text: string) => changes.next(JSON.parse(text) as PriceChange));
  await subscriber.subscribe(CHANNEL);
  return (event) => void publisher.publish(CHANNEL, JSON.stringify(event));
}

/** Adapters of Socket.IO: the classic one receives everything, the sharded one receives messages for its server's rooms. */
export const adapters = {
  classic: (url: string) => createAdapter(new Redis(url), new Redis(url)),
  sharded: (url: string) => createShardedAdapter(new Redis(url), new Redis(url)),
};
