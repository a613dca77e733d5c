import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';

type Call = (event: Event) => void;
type Listen = (type: string, listener: unknown, options?: unknown) => void;

/**
 * Isolates the listeners of a signal like those of messages. Node throws errors and rejections of EventTarget listeners in a later turn,
 * where nobody can catch them, and the process ends.
 *
 * @param callback - the name of a listener in logs
 */
export function isolateListeners(signal: AbortSignal, reporter: Reporter, callback: string): AbortSignal {
  // One wrapper for each listener, so that a second registration is recognised and removal finds it.
  const isolated = new WeakMap<object, Call>();
  const isolatedOf = (listener: unknown): unknown => {
    if ((typeof listener !== 'object' && typeof listener !== 'function') || listener === null) return listener;
    let call = isolated.get(listener);
    if (call === undefined) {
      call = (event) => isolate(reporter, callback, () => callListener(listener, signal, event));
      isolated.set(listener, call);
      // Node removes the function that was added, if the option `signal` ends the registration.
      isolated.set(call, call);
    }
    return call;
  };
  const add = signal.addEventListener.bind(signal) as Listen;
  const remove = signal.removeEventListener.bind(signal) as Listen;
  // `onabort` is registered through the first one, too.
  return Object.defineProperties(signal, {
    addEventListener: methodOf((type, listener, options) => add(type, isolatedOf(listener), options)),
    removeEventListener: methodOf((type, listener, options) => remove(type, isolatedOf(listener), options)),
  });
}

function callListener(listener: object, signal: AbortSignal, event: Event): unknown {
  if (typeof listener === 'function') return listener.call(signal, event) as unknown;
  return (listener as EventListenerObject).handleEvent(event);
}

/** A property like a class method: writable and not enumerable. */
function methodOf(value: Listen): PropertyDescriptor {
  return { value, writable: true, configurable: true };
}
