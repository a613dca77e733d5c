import { randomInt, randomUUID } from 'node:crypto';

// What names things that clients see the names of. A name that counts would tell them how many others there are: a client could
// watch the traffic of channels that it may not have.

/** A number for a log, a cut or a stream: 48 random bits, so that no two are alike. */
export function randomNumber(): number {
  return randomInt(2 ** 48 - 1);
}

/** The epoch of a history: 80 random bits as 20 letters and digits. */
export function newEpoch(): string {
  // Without the digits that are the same in each.
  const id = randomUUID();
  return id.slice(0, 8) + id.slice(-12);
}
