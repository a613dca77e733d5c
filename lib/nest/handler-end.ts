import type { NestInterceptor } from '@nestjs/common';
import { INTERCEPTORS_METADATA } from '@nestjs/common/constants.js';
import { defer, finalize } from 'rxjs';

interface Handling {
  /** Several handlers of one event are given the same context. */
  count: number;
  readonly ends: (() => void)[];
}

const handlings = new WeakMap<object, Handling>();

/**
 * Knows when a handler of Nest's microservices, and the stream that it gave, has ended, which the transports do not tell.
 * It is metadata of methods, which several applications may share, so it keeps nothing but what belongs to a message.
 */
const endOfHandler: NestInterceptor = {
  intercept(execution, next) {
    const context: unknown = execution.getType<string>() === 'rpc' ? execution.switchToRpc().getContext() : undefined;
    if (typeof context !== 'object' || context === null) return next.handle();
    return defer(() => {
      begin(context);
      return next.handle();
    }).pipe(finalize(() => end(context)));
  },
};

/**
 * Whether the end of the handlers of a message will be known.
 *
 * @param context - what the transport gives the handlers beside the message
 */
export function isBeingHandled(context: object): boolean {
  return handlings.has(context);
}

/** Calls a function when the handlers of a message have ended; never, if that will not be known. */
export function onceHandled(context: object, run: () => void): void {
  handlings.get(context)?.ends.push(run);
}

/** Lets the end of a handler be known. To be called before Nest makes its handler of the method. */
export function watchEnd(method: Function): void {
  const interceptors = (Reflect.getMetadata(INTERCEPTORS_METADATA, method) ?? []) as unknown[];
  if (interceptors.includes(endOfHandler)) return;
  Reflect.defineMetadata(INTERCEPTORS_METADATA, [endOfHandler, ...interceptors], method);
}

function begin(context: object): void {
  const handling = handlings.get(context) ?? { count: 0, ends: [] };
  handling.count++;
  handlings.set(context, handling);
}

function end(context: object): void {
  const handling = handlings.get(context);
  if (handling === undefined || --handling.count > 0) return;
  handlings.delete(context);
  for (const run of handling.ends) run();
}
