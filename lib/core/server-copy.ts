import { describeCopy, fromOtherCopy } from '../protocol/copy.js';

/** Like `COPY`, but for values that only the server has: two copies of the server may share the client code, and so its `COPY`. */
export const SERVER_COPY = Symbol.for('nestjs-messaging:server-copy');

/** The value under {@link SERVER_COPY}. */
export function describeServerCopy(kind: string): string {
  return describeCopy(kind, new Error());
}

/** Like `fromOtherCopy`, but for values that only the server has. */
export function fromOtherServerCopy(value: unknown): string | undefined {
  return fromOtherCopy(value, SERVER_COPY, describeServerCopy(''));
}
