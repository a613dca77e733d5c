import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';

type Call = (event: Event) => void;
type Listen = (type: string, listener: unknown, options?: unknown) => void;

/**
 * Isolates the listeners of a signal, as those of messages are. Node throws what a listener of an EventTarget throws, or
 * its promise rejects with, in a later turn, where nobody can catch it: the process ends.
 *
 * @param callback - what a listener is, for logs
 */
export function isolateListeners(signal: AbortSignal, reporter: Reporter, callback: string): AbortSignal {
  // One for each listener, so that a second registration of it is known as the same, and removing it finds it.
  const isolated = new WeakMap<object, Call>();
  const isolatedOf = (listener: unknown): unknown => {
    if ((typeof listener !== 'object' && typeof listener !== 'function') || listener === null) return listener;
    let call = isolated.get(listener);
    if (call === undefined) {
      call = (event) => isolate(reporter, callback, () => callListener(listener, signal, event));
      isolated.set(listener, call);
      // Node removes what it was given to add, where an option `signal` ends a registration.
      isolated.set(call, call);
    }
    return call;
  };
  const add = signal.addEventListener.bind(signal) as Listen;
  const remove = signal.removeEventListener.bind(signal) as Listen;
  // `onabort` comes by the first, too.
  return Object.defineProperties(signal, {
    addEventListener: methodOf((type, listener, options) => add(type, isolatedOf(listener), options)),
    removeEventListener: methodOf((type, listener, options) => remove(type, isolatedOf(listener), options)),
  });
}

function callListener(listener: object, signal: AbortSignal, event: Event): unknown {
  if (typeof listener === 'function') return listener.call(signal, event) as unknown;
  return (listener as EventListenerObject).handleEvent(event);
}

/** As the methods of a class are: writable and not enumerable. */
function methodOf(value: Listen): PropertyDescriptor {
  return { value, writable: true, configurable: true };
}
