import type { AppendOutcome, HistoryStore } from '../../lib/core/history-store.js';
import { RedisNames } from '../../lib/transport/redis-names.js';
import type { Received } from './redis-nodes.js';

// Tests of histories in Redis post to the channel `news`.

/** The bounds of tests of histories, unless a test is about bounds. */
export const BOUNDS = { maxMessages: 1_000, ttlMs: 60_000 };

/** The keys of the history of `news`. */
export const keys = new RedisNames('messaging:', undefined).history('news');

export function post(store: HistoryStore, payload: string, id?: string): Promise<AppendOutcome> {
  return store.append('news', { payload, id, digest: id && payload }, BOUNDS);
}

/** The place of the message, or the outcome of the post. */
export function offsetOf(outcome: AppendOutcome): number | string {
  return outcome.kind === 'appended' ? outcome.position.offset : outcome.kind;
}

/** The messages that a node has heard, each with its offset. */
export function heard(received: readonly Received[]): string[] {
  return received.map(([payload, , , position]) => `${position?.offset} ${payload}`);
}
