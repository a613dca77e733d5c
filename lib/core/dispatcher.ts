import { Delivery, MessageContext } from './delivery.js';
import type { Listener } from './listener.js';
import type { ListenerList } from './listener-list.js';
import type { Reporter } from './reporter.js';
import type { Session } from './session.js';

/** Calls listeners, each isolated from the failures of the others. */
export class Dispatcher {
  /** The message whose listeners are being called right now. */
  current: Delivery | undefined = undefined;

  constructor(private readonly reporter: Reporter) {}

  /** Calls the listeners of a list. */
  dispatch(delivery: Delivery, list: ListenerList): void {
    const outer = this.current;
    this.current = delivery;
    try {
      this.walk(delivery, list);
    } finally {
      this.current = outer;
    }
  }

  /** Calls the listeners of all lists in the order of their registration. */
  dispatchToAll(delivery: Delivery, lists: readonly ListenerList[]): void {
    const outer = this.current;
    this.current = delivery;
    try {
      this.merge(delivery, lists);
    } finally {
      this.current = outer;
    }
  }

  /** Calls one listener, whether or not it is in a list. */
  deliver(delivery: Delivery, listener: Listener): void {
    const outer = this.current;
    this.current = delivery;
    try {
      this.call(delivery, listener, new MessageContext(delivery, listener));
    } finally {
      this.current = outer;
    }
  }

  private walk(delivery: Delivery, list: ListenerList): void {
    const listeners = list.beginWalk();
    const { length } = listeners;
    const { message } = delivery;
    let context: MessageContext | undefined;
    let session: Session | undefined;
    let segments: readonly string[] | undefined;
    for (let index = 0; index < length; index++) {
      const listener = listeners[index]!;
      if (listener.closed) continue;
      // What a context tells depends on the listener by its session and template alone; making one for
      // each listener was a third of the cost of a post to 1,000 listeners (bench/local.ts).
      if (
        (context === undefined || listener.session !== session || listener.segments !== segments) &&
        !listener.isContextFree
      ) {
        context = new MessageContext(delivery, listener);
        ({ session, segments } = listener);
      }
      // The body of `call`, written out: a tenth of the cost of a post to 10 listeners (bench/local.ts).
      try {
        const result = listener.call(message as never, context!);
        if (typeof result === 'object' && result !== null) this.follow(result, delivery, listener, context);
      } catch (error) {
        this.failed(error, delivery, listener, context);
      }
    }
    list.endWalk();
  }

  private merge(delivery: Delivery, lists: readonly ListenerList[]): void {
    const walks = lists.map((list) => {
      const listeners = list.beginWalk();
      return { listeners, length: listeners.length, next: 0 };
    });
    for (;;) {
      let first: (typeof walks)[number] | undefined;
      for (const walk of walks) {
        if (walk.next === walk.length) continue;
        if (first === undefined || walk.listeners[walk.next]!.order < first.listeners[first.next]!.order) first = walk;
      }
      if (first === undefined) break;
      const listener = first.listeners[first.next++]!;
      if (!listener.closed) this.call(delivery, listener, new MessageContext(delivery, listener));
    }
    for (const list of lists) list.endWalk();
  }

  private call(delivery: Delivery, listener: Listener, context: MessageContext): void {
    try {
      const result = listener.call(delivery.message as never, context);
      if (typeof result === 'object' && result !== null) this.follow(result, delivery, listener, context);
    } catch (error) {
      this.failed(error, delivery, listener, context);
    }
  }

  /** Tells of a promise's rejection. */
  private follow(result: object, delivery: Delivery, listener: Listener, context: MessageContext | undefined): void {
    if (isThenable(result)) result.then(undefined, (error: unknown) => this.failed(error, delivery, listener, context));
  }

  private failed(error: unknown, delivery: Delivery, listener: Listener, known: MessageContext | undefined): void {
    const context = listener.isContextFree || known === undefined ? new MessageContext(delivery, listener) : known;
    this.reporter.listenerFailed(error, { channel: delivery.channel, listener: listener.name, context });
  }
}

function isThenable(value: object): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown }).then === 'function';
}
