import type { Hub } from '../core/hub.js';
import { inTime } from '../core/in-time.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import type { RecoveryQuestion } from './recovery-wire.js';

/** How long the broker may take to answer the posts of this node. */
const SETTLED_MS = 4_000;

/**
 * Resolves when the logs of this node contain everything that the broker has passed on by now, and all missed messages of the histories
 * among the names of a question.
 *
 * @param wholeMs - how long reading histories may take
 * @throws TransportUnavailableError (rejects) if the broker does not pass on everything, or if histories are not read in time
 */
export async function whenCaughtUp(hub: Hub, { reads }: RecoveryQuestion, wholeMs: number): Promise<void> {
  if (!(await hub.catchUp()))
    throw new TransportUnavailableError('The broker does not deliver everything that it accepts');
  const whole = await Promise.all(reads.map(([name]) => hub.whenWhole(name, wholeMs)));
  if (whole.includes(false)) throw new TransportUnavailableError('Histories could not be read in time');
}

/**
 * Resolves when the broker has answered all posts of this node so far, which are in its logs before. The other node, which hears of these
 * logs, counts as having heard them.
 *
 * @throws TransportUnavailableError (rejects) if that takes too long
 */
export async function whenSettled(hub: Hub): Promise<void> {
  await inTime(hub.settled(), SETTLED_MS, () => {
    throw new TransportUnavailableError('The broker does not answer the posts of this server');
  });
}
