/** On what another copy of this package must be told by; holds what it is and where that copy's code stands. */
export const COPY = Symbol.for('nestjs-messaging:copy');

/** What stands under {@link COPY}. To be called by code of the copy itself. */
export function describeCopy(kind: string): string {
  return `${kind} (${new Error().stack?.split('\n')[1]?.trim()})`;
}

/**
 * What to tell of a value that another copy of this package has made, whose classes this one does not know.
 *
 * @returns `undefined` for anything else
 */
export function fromOtherCopy(value: unknown): string | undefined {
  const other = (value as { [COPY]?: unknown } | null | undefined)?.[COPY];
  if (typeof other !== 'string') return undefined;
  return `${other} is not of ${describeCopy('nestjs-messaging')}: install it once, and bundle all of it or nothing`;
}
