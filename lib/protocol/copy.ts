import { ConfigurationError } from './errors.js';

/** On what another copy of this package must be told by; holds what it is and where that copy's code stands. */
export const COPY = Symbol.for('nestjs-messaging:copy');

/**
 * The value under {@link COPY}. Only code of the copy itself may call this.
 *
 * @param here - made by code of the copy
 */
export function describeCopy(kind: string, here = new Error()): string {
  // V8 writes a line above the places, others do not: their second place is that of the caller.
  return `${kind} (${/.*:\d+:\d+.*/.exec(here.stack!)?.[0].trim()})`;
}

/** @throws ConfigurationError for a value of another copy of this package, whose classes this one does not know */
export function refuseOtherCopy(value: unknown): void {
  const problem = fromOtherCopy(value);
  if (problem) throw new ConfigurationError(problem);
}

/**
 * The error text for a value of another copy of this package, whose classes this one does not know.
 *
 * @returns `undefined` for anything else
 */
export function fromOtherCopy(value: unknown, mark = COPY, own = describeCopy('')): string | undefined {
  const other = (value as Record<symbol, string | undefined> | null | undefined)?.[mark];
  // The same place: it is of this copy, but not what it should be.
  return other && !other.endsWith(own)
    ? `${other} and nestjs-messaging${own} are two copies of the library; keep only one`
    : undefined;
}
