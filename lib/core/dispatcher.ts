import type { Class } from '../protocol/message.js';
import { isInstance } from '../protocol/message-class.js';
import { isThenable } from '../protocol/promises.js';
import { notCarried } from './class-guard.js';
import { Delivery } from './delivery.js';
import type { WaitingGap } from './gap.js';
import { reportRejection, tellOfGap } from './isolate.js';
import type { Listener, Tap } from './listener.js';
import type { ListenerList } from './listener-list.js';
import type { ListenerRegistry } from './listener-registry.js';
import { MessageContext } from './message-context.js';
import type { Reporter } from './reporter.js';
import type { Session } from './session.js';

const NO_LISTS: readonly ListenerList[] = [];
// How many deliveries may be on the stack, each started by a listener of the previous one. They take about 40 kB of the stack's
// megabyte, which leaves nearly all of it to the listeners.
const MAX_NESTED = 32;

/**
 * Calls listeners, each isolated from the failures of the others. Messages of one channel are delivered one after the other, each to
 * all of its listeners. Posts that a listener makes to other channels are delivered at once, inside its call, unless the stack is
 * too deep.
 */
export class Dispatcher {
  /** The message whose listeners are being called right now. */
  current: Delivery | undefined = undefined;
  /** How many deliveries are on the stack. */
  private nested = 0;
  /** The lists with leftover messages, in order: each links to the next. */
  private firstLeftOver: ListenerList | undefined = undefined;
  private lastLeftOver: ListenerList | undefined = undefined;

  constructor(
    private readonly channels: ListenerRegistry,
    private readonly reporter: Reporter,
  ) {}

  /**
   * Delivers now; or after the current message of the same channel; or, if too many deliveries are on the stack, when all of them have
   * ended.
   */
  enqueue(delivery: Delivery, known: ListenerList | undefined): void {
    // Pending gaps come before it, those of templates too.
    if (this.firstLeftOver !== undefined && this.nested === 0) {
      this.deliverLeftOver();
      known = this.channels.get(delivery.channel);
    }
    if (known === undefined && !this.channels.hasTemplates) return;
    const list = known ?? this.channels.getOrCreate(delivery.channel);
    if (list.isBusy) {
      list.wait(delivery);
      return;
    }
    if (this.nested === MAX_NESTED) {
      list.wait(delivery);
      if (!list.isLeftOver) this.leaveOver(list);
      return;
    }
    if (list.waiting.length === 0) {
      this.run(list, delivery);
    } else {
      // After the leftover messages of the same channel.
      list.wait(delivery);
      this.run(list, undefined);
    }
    if (this.firstLeftOver !== undefined && this.nested === 0) this.deliverLeftOver();
  }

  /**
   * Tells the listeners of a channel or template about a gap: after the earlier messages, never within a delivery or within the call that
   * reports the loss. Losses with one reason and no message between them are reported as one.
   */
  enqueueGap(gap: WaitingGap, list: ListenerList): void {
    if (!list.all.some(hearsOfGaps)) return;
    list.waitGap(gap);
    // Otherwise its turn comes when the current message has reached every listener.
    if (list.isBusy || list.isLeftOver) return;
    this.leaveOver(list);
    if (this.nested === 0) queueMicrotask(this.deliverLeftOver);
  }

  /**
   * Calls one listener, whether or not it is in a list.
   *
   * @param tap - receives the delivery if the listener belongs to the library: the listener's own tap, or a substitute
   */
  deliver(delivery: Delivery, listener: Listener, tap: Tap | undefined): void {
    if (!this.isFor(delivery, listener.definition?.type)) return;
    const outer = this.current;
    this.current = delivery;
    try {
      this.callOne(delivery, listener, tap);
    } finally {
      this.current = outer;
    }
  }

  /** Delivers a message, then the waiting ones. The list stays usable whatever fails. */
  private run(list: ListenerList, delivery: Delivery | undefined): void {
    const outer = this.current;
    list.isBusy = true;
    this.nested++;
    try {
      if (delivery !== undefined) this.toAudience(delivery, list);
      if (list.waiting.length > 0) this.deliverWaiting(list);
    } catch (error) {
      // Listeners' errors never get here. A stack overflow does, and then the next call would fail as well.
      this.current = outer;
      this.nested--;
      list.isBusy = false;
      if (!list.isLeftOver) this.leaveOver(list);
      if (this.nested === 0) queueMicrotask(this.deliverLeftOver);
      throw error;
    }
    this.current = outer;
    this.nested--;
    list.isBusy = false;
    if (list.isEmpty) this.channels.drop(list);
  }

  private deliverWaiting(list: ListenerList): void {
    for (let next = list.takeWaiting(); next !== undefined; next = list.takeWaiting()) {
      if (next instanceof Delivery) this.toAudience(next, list);
      else this.tell(next, list);
    }
  }

  private leaveOver(list: ListenerList): void {
    list.isLeftOver = true;
    if (this.lastLeftOver === undefined) this.firstLeftOver = list;
    else this.lastLeftOver.nextLeftOver = list;
    this.lastLeftOver = list;
  }

  private readonly deliverLeftOver = (): void => {
    for (let list = this.firstLeftOver; list !== undefined; list = this.firstLeftOver) {
      this.firstLeftOver = list.nextLeftOver;
      if (this.firstLeftOver === undefined) this.lastLeftOver = undefined;
      list.nextLeftOver = undefined;
      list.isLeftOver = false;
      this.run(list, undefined);
    }
  };

  /**
   * Calls the listeners that a message is for. The transport hands over a message once for each matching subscription, and each time only
   * the listeners of that subscription are called.
   */
  private toAudience(delivery: Delivery, list: ListenerList): void {
    this.current = delivery;
    const { template } = delivery;
    // If the message arrived through a template only, this list may exist only for this message, so nothing is cached in it.
    const templates = template === undefined ? this.channels.templatesOf(list) : NO_LISTS;
    if (templates.length > 0 && delivery.origin === 'local') {
      const lists = [list, ...templates].filter((each) => this.isFor(delivery, each.definition?.type));
      this.merge(delivery, lists);
      return;
    }
    const audience = template === undefined ? list : this.channels.getTemplate(template);
    if (audience === undefined) return;
    if (audience.hasTaps) this.walkWithTaps(delivery, audience);
    else this.walk(delivery, audience);
  }

  /** Whether listeners of a class may get a message; a template may have another class than the channel. */
  private isFor(delivery: Delivery, type: Class | undefined): boolean {
    if (type === undefined || isInstance(delivery.message, type)) return true;
    this.reporter.messageRejected({ channel: delivery.channel, error: notCarried(delivery.message, type) });
    return false;
  }

  private tell({ gap, channels, told }: WaitingGap, list: ListenerList): void {
    this.current = undefined;
    const listeners = list.all;
    const { length } = listeners;
    for (let index = 0; index < length; index++) {
      const listener = listeners[index]!;
      const { onGap, carries } = listener;
      if (onGap === undefined || listener.closed) continue;
      if (channels !== undefined && carries !== undefined && ![...channels].some(carries)) continue;
      if (told?.has(listener) === true) continue;
      told?.add(listener);
      tellOfGap(this.reporter, listener.name, gap, onGap);
    }
  }

  /** Calls the listeners of a list that has no taps. */
  private walk(delivery: Delivery, list: ListenerList): void {
    const listeners = list.all;
    const { length } = listeners;
    const { message } = delivery;
    let context: MessageContext | undefined;
    let session: Session | undefined;
    let segments: readonly string[] | undefined;
    for (let index = 0; index < length; index++) {
      const listener = listeners[index]!;
      if (listener.closed) continue;
      // A context depends only on the listener's session and template. Making one for each listener was a third of the cost of a post to
      // 1,000 listeners (bench/local.ts).
      if (context === undefined || listener.session !== session || listener.segments !== segments) {
        context = new MessageContext(delivery, listener);
        ({ session, segments } = listener);
      }
      // Inlines `call`: a tenth of the cost of a post to 10 listeners (bench/local.ts).
      try {
        const result = listener.call(message as never, context);
        if (typeof result === 'object' && result !== null) this.follow(result, delivery, listener, context);
      } catch (error) {
        this.failed(error, delivery, listener, context);
      }
    }
  }

  /** Separate from {@link walk}, where checking for taps would cost a tenth of a post to 1,000 listeners (bench/local.ts). */
  private walkWithTaps(delivery: Delivery, list: ListenerList): void {
    const listeners = list.all;
    const { length } = listeners;
    let context: MessageContext | undefined;
    let last: Listener | undefined;
    for (let index = 0; index < length; index++) {
      const listener = listeners[index]!;
      if (listener.closed) continue;
      if (listener.tap !== undefined) {
        this.tap(delivery, listener, listener.tap);
        continue;
      }
      if (context === undefined || listener.session !== last!.session || listener.segments !== last!.segments) {
        context = new MessageContext(delivery, listener);
      }
      last = listener;
      this.call(delivery, listener, context);
    }
  }

  /** Calls the listeners of all lists in the order of their registration. */
  private merge(delivery: Delivery, lists: readonly ListenerList[]): void {
    const walks = lists.map(({ all }) => ({ listeners: all, length: all.length, next: 0 }));
    for (;;) {
      let first: (typeof walks)[number] | undefined;
      for (const walk of walks) {
        if (walk.next === walk.length) continue;
        if (first === undefined || walk.listeners[walk.next]!.order < first.listeners[first.next]!.order) first = walk;
      }
      if (first === undefined) break;
      const listener = first.listeners[first.next++]!;
      if (!listener.closed) this.callOne(delivery, listener, listener.tap);
    }
  }

  private callOne(delivery: Delivery, listener: Listener, tap: Tap | undefined): void {
    if (tap !== undefined) this.tap(delivery, listener, tap);
    else this.call(delivery, listener, new MessageContext(delivery, listener));
  }

  private tap(delivery: Delivery, listener: Listener, tap: Tap): void {
    try {
      const result = tap(delivery);
      if (typeof result === 'object' && result !== null) this.follow(result, delivery, listener, undefined);
    } catch (error) {
      this.failed(error, delivery, listener, undefined);
    }
  }

  private call(delivery: Delivery, listener: Listener, context: MessageContext): void {
    try {
      const result = listener.call(delivery.message as never, context);
      if (typeof result === 'object' && result !== null) this.follow(result, delivery, listener, context);
    } catch (error) {
      this.failed(error, delivery, listener, context);
    }
  }

  /** Reports the rejection of a promise. */
  private follow(result: object, delivery: Delivery, listener: Listener, context: MessageContext | undefined): void {
    if (!isThenable(result)) return;
    void reportRejection(result, (error) => this.failed(error, delivery, listener, context));
  }

  private failed(error: unknown, delivery: Delivery, listener: Listener, known: MessageContext | undefined): void {
    const context = known ?? new MessageContext(delivery, listener);
    this.reporter.listenerFailed(error, { channel: delivery.channel, listener: listener.name, context });
  }
}

function hearsOfGaps({ onGap, closed }: Listener): boolean {
  return onGap !== undefined && !closed;
}
