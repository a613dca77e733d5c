import { describe, isOfTemplate } from '../protocol/channel-name.js';
import type { MessageParams } from '../protocol/channel.js';
import type { ChannelDefinition } from '../protocol/channel-definition.js';
import { MessagingError } from '../protocol/errors.js';
import { nameOf } from '../protocol/text-of.js';
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

/** Called with each delivery itself. The library listens this way, since it needs more of a message than the application does. */
export type Tap = (delivery: Delivery) => unknown;

/** What a listener may learn besides messages. */
export interface ListenerEvents {
  /** See {@link Registration.onSessionClose}. */
  readonly onSessionClose?: (() => void) | undefined;
  readonly onGap?: GapListener | undefined;
  /** Whether it wants a channel of its template. It gets no gaps of other channels. @defaultValue all channels */
  readonly carries?: ((channel: string) => boolean) | undefined;
}

/** The name or template of a listener, with its definition. */
export interface Heard {
  /** The name or template. */
  readonly channel: string;
  readonly definition: ChannelDefinition | undefined;
  /** The segments of the template that names the parameters, if there is a template. */
  readonly segments: readonly string[] | undefined;
}

/** The list that a listener is registered in. */
export interface Registry {
  /** Resolves when no later global post can be missed. Without a broker, that is at once. */
  readonly interest: Promise<void> | undefined;
  add(listener: Listener): void;
  /** Call it when one of its listeners no longer has a {@link Listener.tap}. */
  noteUntapped(): void;
  /** Call it when the listener has just been closed. */
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
   * ends first, by `unsubscribe()` or because the application closes: then {@link closed} is `true`, and earlier messages may not
   * have been delivered. Never rejects.
   */
  readonly ready: Promise<void>;
  /** Ends the registration. The listener is not called again, not even for a message being delivered. It needs no `this`. */
  unsubscribe(this: void): void;
}

// Shared by all listeners: without a broker nothing has to be waited for.
const READY = Promise.resolve();

/** A registered function on a channel; also the handle of the registration. */
export class Listener implements Heard, MessageSubscription, Registration {
  readonly channel: string;
  readonly definition: ChannelDefinition | undefined;
  readonly segments: readonly string[] | undefined;
  closed = false;
  /** Its place in the order of registration, over all channels of the hub. */
  order = 0;
  /** See {@link Registration.onSessionClose}. */
  onSessionClose: (() => void) | undefined = undefined;
  /** Called for each loss; few listeners have one. */
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
    /** The function of the library, if the library listens; see {@link setTap}. */
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

  /** A listener that gets each {@link Delivery}; no context is made for it. */
  static tapping(heard: Heard, tap: Tap, session: Session, label: string, events: ListenerEvents = {}): Listener {
    const listener = new Listener(heard, callNobody, tap, session, label);
    listener.onSessionClose = events.onSessionClose;
    listener.onGap = events.onGap;
    listener.carries = events.carries;
    return listener;
  }

  /** Its name in logs. */
  get name(): string {
    // A proxy or a class may have replaced the name of a function with any value.
    return this.label ?? (nameOf(this.call) || 'anonymous listener');
  }

  /** Whether it listens to all channels of a template. */
  get isTemplate(): boolean {
    return this.segments !== undefined && (this.definition === undefined || this.definition.name === this.channel);
  }

  /** Whether it registers this function of the application on this channel or template. */
  isOf(channel: string, call: unknown): boolean {
    return this.call === call && this.channel === channel;
  }

  /** Whether a message is for this listener. */
  hears({ channel, template, origin }: Delivery): boolean {
    // The broker hands over a message once for each subscription.
    if (origin === 'global') return this.channel === (template ?? channel);
    return channel === this.channel || (this.isTemplate && isOfTemplate(this.segments!, channel.split('/')));
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
   * Makes {@link ready} wait for something besides the broker.
   *
   * @returns a function to call when that is done
   */
  delayReady(): () => void {
    let ready!: () => void;
    this.becameReady = new Promise((resolve) => (ready = resolve));
    this.resolveReady = ready;
    return ready;
  }

  /** Changes the receiver of its messages from now on; `undefined`: the function of the application. */
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

  /** Made on access: a handle may be destructured, but few of a hundred thousand are. */
  get unsubscribe(): () => void {
    return () => this.end();
  }

  /** Ends the registration. */
  private end(): void {
    if (this.closed) return;
    this.closed = true;
    this.session.release(this);
    const list = this.list;
    this.list = undefined;
    this.resolveReady?.();
    list?.noteClosed(this);
  }

  [Symbol.dispose](): void {
    this.end();
  }
}

function callNobody(): void {}

/** @throws MessagingError (`INVALID_LISTENER`) if the value is not a function */
export function assertListener(call: unknown): void {
  if (typeof call === 'function') return;
  throw new MessagingError(
    'INVALID_LISTENER',
    `A listener is a function (message, context) => …, not ${describe(call)}`,
  );
}
