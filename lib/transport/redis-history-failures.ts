import type { AppendOutcome } from '../core/history-store.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import type { PendingPost } from './redis-history-batch.js';

/** The error code at the beginning of an answer of Redis, even for a command inside a script. */
export function codeOf({ message }: Error): string {
  return /^(?:ERR Error running script.*?-)?([A-Z]+)\b/.exec(message)?.[1] ?? '';
}

const PASSING = new Set(
  'READONLY LOADING CLUSTERDOWN MASTERDOWN TRYAGAIN BUSY NOREPLICAS MISCONF MOVED ASK NOSCRIPT'.split(' '),
);

/** Whether another try may not get this error. */
export function isPassing(error: Error): boolean {
  return PASSING.has(codeOf(error)) || error.message.includes('Script killed by user');
}

/** The outcome of a post that is not appended, and will not be. */
export function refused(why: string, cause?: Error): AppendOutcome {
  return { kind: 'refused', error: new TransportUnavailableError(`It is not appended: ${why}`, { cause }) };
}

/** The outcome of a post that Redis may have appended. */
export function unclear({ id }: PendingPost, why: string): AppendOutcome {
  const advice = id === undefined ? 'only a post with an id can be repeated' : 'repeat it with the same id';
  const text = `It may still be appended, since it was sent: ${why}; ${advice} without a second copy`;
  return { kind: 'unknown', error: new TransportUnavailableError(text) };
}
