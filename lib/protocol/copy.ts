/** On what another copy of this package must be told by; holds what it is and where that copy's code stands. */
export const COPY = Symbol.for('nestjs-messaging:copy');

/** What stands under {@link COPY}. To be called by code of the copy itself. */
export function describeCopy(kind: string): string {
  // Below the message and this function.
  const place = /(?: \(|at )([^(]*):\d+:\d+\)?$/.exec(new Error().stack?.split('\n')[1] ?? '')?.[1];
  return `${kind} (of the copy at ${place ?? 'an unknown place'})`;
}

/**
 * What to tell of a value that another copy of this package has made, whose classes this one does not know.
 *
 * @returns `undefined` for anything else
 */
export function fromOtherCopy(value: unknown): string | undefined {
  let other: unknown;
  try {
    other = (value as { [COPY]?: unknown } | null | undefined)?.[COPY];
  } catch {
    // A Proxy.
  }
  if (typeof other !== 'string') return undefined;
  return `a ${other} was given to another copy of nestjs-messaging, ${describeCopy('this one')}; two copies do not know each other: install one, and keep it out of the bundle or take all that uses it in`;
}
