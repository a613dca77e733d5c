import type { Hub } from '../core/hub.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import type { RecoveryQuestion } from './recovery-wire.js';

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
