import { describe } from './channel-name.js';
import { nameOf, textOf } from './text-of.js';

// What an application throws may be anything: nothing, a proxy, an object whose getters throw. Whoever looks at it
// while handling one failure must not cause the next.

/** Whether something that was thrown is an error of a class; `false` for what cannot be asked. Never throws. */
export function isErrorOf<T>(thrown: unknown, type: new (...args: never[]) => T): thrown is T {
  try {
    return thrown instanceof type;
  } catch {
    return false;
  }
}

/** The message of an error; in words what else was thrown. Never throws. */
export function thrownText(thrown: unknown): string {
  return textOf(thrown, 'message') ?? describe(thrown);
}

/** The message of an error; `undefined` if it is not a text or cannot be read. Never throws. */
export function messageOf(thrown: unknown): string | undefined {
  return textOf(thrown, 'message');
}

/** Whether it is the error that ends what waits for an aborted signal. Never throws. */
export function isAbortError(thrown: unknown): boolean {
  return nameOf(thrown) === 'AbortError';
}
