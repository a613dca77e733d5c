import { isObject } from './is-record.js';

/** Whether something is a promise, or what `await` takes for one. Throws what a getter of it throws. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return isObject(value) && typeof (value as { then?: unknown }).then === 'function';
}

/** Keeps a promise that is refused from ending the process when it rejects. Takes anything, and never throws. */
export function ignoreRejection(refused: unknown): void {
  try {
    // Of a promise alone: to call the `then` of anything else might begin its work.
    if (refused instanceof Promise) void Promise.prototype.then.call(refused, undefined, () => {});
  } catch {
    // A proxy, which rejects nothing by itself.
  }
}
