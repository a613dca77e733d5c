import { describeCopy, fromOtherCopy } from '../protocol/copy.js';

/** As `COPY`, on values that only the server has: two copies of the server may share the code of the client, and so its `COPY`. */
export const SERVER_COPY = Symbol.for('nestjs-messaging:server-copy');

/** What stands under {@link SERVER_COPY}. */
export function describeServerCopy(kind: string): string {
  return describeCopy(kind, new Error());
}

/** As `fromOtherCopy`, for values that only the server has. */
export function fromOtherServerCopy(value: unknown): string | undefined {
  return fromOtherCopy(value, SERVER_COPY, describeServerCopy(''));
}
