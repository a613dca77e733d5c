import { describe, matchTemplate } from '../protocol/channel-name.js';
import type { MessageParams } from '../protocol/channel.js';
import type { ChannelDefinition } from '../protocol/channel-definition.js';
import { MessagingError } from '../protocol/errors.js';
import { nameOf } from '../protocol/thrown.js';
import type { Delivery } from './delivery.js';
import type { GapListener } from './gap.js';
import type { MessageContext } from './message-context.js';
import type { Registration, Session } from './session.js';

/**
 * Called with each message. Its result is ignored, except that the rejection of a promise is caught and
 * reported like a thrown error.
 */
export type MessageListener<T = unknown, Params = MessageParams> = (
  message: T,
  context: MessageContext<Params>,
) => unknown;

/** Called with each delivery itself: how the library listens, which needs more of a message than the application does. */
export type Tap = (delivery: Delivery) => unknown;

/** What a listener may be told of beside messages. */
export interface ListenerEvents {
  /** See {@link Registration.onSessionClose}. */
  readonly onSessionClose?: (() => void) | undefined;
  readonly onGap?: GapListener | undefined;
  /** Whether a channel of its template is for it: it is told of no gap of others. @defaultValue all are */
  readonly carries?: ((channel: string) => boolean) | undefined;
}

/** What a listener listens to. */
export interface Heard {
  /** The name or template. */
  readonly channel: string;
  readonly definition: ChannelDefinition | undefined;
  /** The segments of the template that names the parameters, if there is one. */
  readonly segments: readonly string[] | undefined;
}

/** What a listener is registered in. */
export interface Registry {
  /** Resolves when no later global post can be missed; at once where there is none. */
  readonly interest: Promise<void> | undefined;
  add(listener: Listener): void;
  /** To be called when one of its listeners has no {@link Listener.tap} any more. */
  noteUntapped(): void;
  /** To be called when the listener has just been closed. */
  noteClosed(listener: Listener): void;
}

/** The handle of a listener's registration. RxJS accepts it as an `Unsubscribable`. */
export interface MessageSubscription extends Disposable {
  /** The name or template of the subscription. */
  readonly channel: string;
  /** Whether it has ended, by `unsubscribe()` or with its session. */
  readonly closed: boolean;
  /**
   * Resolves once no later global post can be missed: at once without Redis, else when Redis has confirmed
   * the subscription; with `replay`, when the earlier messages have been delivered as well. Also resolves when the registration
   * ends first. Never rejects.
   */
  readonly ready: Promise<void>;
  /** Ends the registration. The listener is not called again, not even for a message being delivered. */
  unsubscribe(): void;
}

// One for all: without a broker nobody waits.
const READY = Promise.resolve();

/** A function on a channel: the registration and its handle in one. */
export class Listener implements Heard, MessageSubscription, Registration {
  readonly channel: string;
  readonly definition: ChannelDefinition | undefined;
  readonly segments: readonly string[] | undefined;
  closed = false;
  /** Place in the order of registration, over all channels of the hub. */
  order = 0;
  /** See {@link Registration.onSessionClose}. */
  onSessionClose: (() => void) | undefined = undefined;
  /** Told of each loss; few listeners have one. */
  onGap: GapListener | undefined = undefined;
  /** See {@link ListenerEvents.carries}. */
  carries: ((channel: string) => boolean) | undefined = undefined;
  private list: Registry | undefined = undefined;
  private becameReady: Promise<void> | undefined = undefined;
  private resolveReady: (() => void) | undefined = undefined;

  private constructor(
    { channel, definition, segments }: Heard,
    /** The function of the application; does nothing if there is a {@link tap}. */
    readonly call: MessageListener<never>,
    /** The function of the library, if that listens; see {@link setTap}. */
    public tap: Tap | undefined,
    readonly session: Session,
    private readonly label: string | undefined,
  ) {
    this.channel = channel;
    this.definition = definition;
    this.segments = segments;
  }

  /** @param label - what logs call it; the function's name otherwise */
  static of(heard: Heard, call: MessageListener<never>, session: Session, label?: string): Listener {
    return new Listener(heard, call, undefined, session, label);
  }

  /** One that is given each {@link Delivery}, for which no context is made. */
  static tapping(heard: Heard, tap: Tap, session: Session, label: string, events: ListenerEvents = {}): Listener {
    const listener = new Listener(heard, callNobody, tap, session, label);
    listener.onSessionClose = events.onSessionClose;
    listener.onGap = events.onGap;
    listener.carries = events.carries;
    return listener;
  }

  /** What logs call it. */
  get name(): string {
    // A proxy or a class may have put anything in place of the name of a function.
    return this.label ?? (nameOf(this.call) || 'anonymous listener');
  }

  /** Whether it listens to all channels of a template. */
  get isTemplate(): boolean {
    return this.segments !== undefined && (this.definition === undefined || this.definition.name === this.channel);
  }

  /** Whether it is the registration of a function of the application on a channel or template. */
  isOf(channel: string, call: unknown): boolean {
    return this.call === call && this.channel === channel;
  }

  /** Whether a message is for it. */
  hears({ channel, template, origin }: Delivery): boolean {
    // From the broker it comes once for each subscription.
    if (origin === 'global') return this.channel === (template ?? channel);
    return (
      channel === this.channel || (this.isTemplate && matchTemplate(this.segments!, channel.split('/')) !== undefined)
    );
  }

  /** See {@link Registry.interest}. */
  get interest(): Promise<void> | undefined {
    return this.list?.interest;
  }

  get ready(): Promise<void> {
    if (this.becameReady !== undefined) return this.becameReady;
    const { interest } = this;
    if (interest === undefined) return READY;
    const resolve = this.delayReady();
    void interest.then(resolve);
    return this.becameReady!;
  }

  /**
   * Has {@link ready} wait for something else than the broker.
   *
   * @returns to be called when it is there
   */
  delayReady(): () => void {
    let ready!: () => void;
    this.becameReady = new Promise((resolve) => (ready = resolve));
    this.resolveReady = ready;
    return ready;
  }

  /** Changes who is given its messages from now on; `undefined`: the function of the application. */
  setTap(tap: Tap | undefined): void {
    if (tap === undefined && this.tap !== undefined) this.list?.noteUntapped();
    this.tap = tap;
  }

  /** Joins the list that calls it. */
  attach(list: Registry, order: number): void {
    this.order = order;
    this.list = list;
    list.add(this);
  }

  unsubscribe(): void {
    if (this.closed) return;
    this.closed = true;
    this.session.release(this);
    const list = this.list;
    this.list = undefined;
    this.resolveReady?.();
    list?.noteClosed(this);
  }

  [Symbol.dispose](): void {
    this.unsubscribe();
  }
}

function callNobody(): void {}

/** @throws MessagingError (`INVALID_LISTENER`) for anything but a function */
export function assertListener(call: unknown): void {
  if (typeof call === 'function') return;
  throw new MessagingError(
    'INVALID_LISTENER',
    `A listener is a function (message, context) => …, not ${describe(call)}`,
  );
}
