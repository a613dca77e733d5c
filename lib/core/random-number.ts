import { randomInt, randomUUID } from 'node:crypto';

// Names that clients see. A counter would tell them how many others there are, so that a client could watch the traffic of channels that
// it may not use.

/** A number for a log, a cut or a stream: 48 random bits, so that no two are equal. */
export function randomNumber(): number {
  return randomInt(2 ** 48 - 1);
}

/** The epoch of a history: 80 random bits as 20 letters and digits. */
export function newEpoch(): string {
  // Leaves out the digits that are the same in every UUID.
  const id = randomUUID();
  return id.slice(0, 8) + id.slice(-12);
}
