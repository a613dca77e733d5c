import { paramsOf, quote } from '../protocol/channel-name.js';
import { ConfigurationError, InvalidMessageError } from '../protocol/errors.js';
import type { ChannelAnswer, MessageFrame } from '../protocol/gateway.js';
import { isInstance } from '../protocol/message-class.js';
import { typeName } from '../protocol/serializable.js';
import type { ClientErrorContext } from './client-options.js';
import type { ClientStatus } from './client-status.js';
import { errorOf } from './error-of.js';
import { isolate } from './isolate.js';
import type { Position } from '../protocol/position.js';
import type { Link, LinkReceiver, Replayed } from './link.js';
import { isUpTo, nameOf, placeOf } from './positions.js';
import type { ClientMessageContext, Registration } from './registration.js';

/** The client that subscriptions work for. */
export interface SubscriptionsOwner {
  decode(frame: MessageFrame): unknown;
  report(error: unknown, context: ClientErrorContext): void;
  /** Takes what nobody has checked. */
  gap(gap: unknown): void;
  status(status: ClientStatus): void;
}

/** Who listens to what: one subscription at the server for each channel, however many listen. */
export class Subscriptions implements LinkReceiver {
  /** Set before anything else; replaced by another one after it was closed. */
  link!: Link;
  readonly #owner: SubscriptionsOwner;
  /** By name or template, in the order of registration. */
  readonly #channels = new Map<string, Set<Registration>>();
  /** Those that are given the past first, by what the server calls them. */
  readonly #listeners = new Map<string, Registration>();
  #made = 0;

  constructor(owner: SubscriptionsOwner) {
    this.#owner = owner;
  }

  status(status: ClientStatus): void {
    this.#owner.status(status);
  }

  /** The registrations of a channel as they are now. */
  of(channel: string): Registration[] {
    return [...(this.#channels.get(channel) ?? [])];
  }

  add(registration: Registration): void {
    const { channel } = registration;
    const registrations = this.#channels.get(channel);
    if (registrations) registrations.add(registration);
    else this.#channels.set(channel, new Set([registration]));
    this.link.want(channel);
    const { past } = registration;
    if (past === undefined) return;
    const listener = `${++this.#made}-${Math.random()}`;
    registration.listener = listener;
    this.#listeners.set(listener, registration);
    this.link.replay(listener, { channel, start: past });
  }

  /**
   * Ends a registration.
   *
   * @returns whether its receiver has told somebody of the error
   */
  remove(registration: Registration, error?: Error): boolean {
    if (registration.closed) return true;
    registration.closed = true;
    const { channel, receiver } = registration;
    this.#begin(registration);
    const registrations = this.#channels.get(channel);
    // One that came too late was never added.
    if (registrations?.delete(registration) && registrations.size === 0) {
      this.#channels.delete(channel);
      this.link.drop(channel);
    }
    const call = (run: () => unknown): void => isolate(run, (failure) => this.#owner.report(failure, { channel }));
    let isTold = true;
    call(() => void (isTold = receiver.ended(error, call)));
    return isTold;
  }

  /** Ends all of them. */
  end(error?: Error): void {
    for (const channel of this.#channels.keys()) {
      for (const registration of this.of(channel)) this.remove(registration, error);
    }
  }

  /** Takes what the server says of a channel. */
  answer({ channel, error: code }: ChannelAnswer): void {
    const registrations = this.of(channel);
    if (!code) {
      for (const { receiver, listener } of registrations) if (!listener) receiver.confirmed?.();
      return;
    }
    const error = errorOf(code, `The server refuses channel ${quote(channel)}: ${code}`);
    const untold = registrations.filter((registration) => !this.remove(registration, error));
    if (untold.length > 0) this.#owner.report(error, { channel });
  }

  /** Takes what comes of the past for one listener. */
  replayed({ listener, frame, gap, position, isDone, error }: Replayed): void {
    const registration = this.#listeners.get(listener);
    if (!registration) return;
    const { channel, receiver } = registration;
    if (error) {
      const failure = new ConfigurationError(error);
      if (!this.remove(registration, failure)) this.#owner.report(failure, { channel });
      return;
    }
    receiver.confirmed?.();
    if (gap) this.#owner.gap(gap);
    else if (isDone) {
      this.#begin(registration);
      registration.until = position;
    } else this.#deliver(frame, position, [registration]);
  }

  /** Takes a gap in a channel. Listeners that have later messages from the past, or will get them, have no gap. */
  gap(told: unknown): void {
    const { position } = (told ?? {}) as { readonly position?: Position };
    const registrations = this.of(nameOf(told));
    if (!position || registrations.length === 0 || registrations.some((each) => hears(each, position)))
      this.#owner.gap(told);
  }

  /** From now on a registration is given what comes. */
  #begin(registration: Registration): void {
    const { listener } = registration;
    if (!listener) return;
    registration.listener = undefined;
    this.#listeners.delete(listener);
    this.link.replay(listener);
  }

  message(frame: unknown, _id?: string, position?: Position): void {
    this.#deliver(frame, position);
  }

  /**
   * Takes a frame to those who listen to its channel, or to its template where it comes by that.
   *
   * @param only - whom it is replayed to
   */
  #deliver(told: unknown, position?: Position, only?: readonly Registration[]): void {
    let channel: string | undefined;
    try {
      if (told instanceof Error) throw told;
      const frame = told as MessageFrame;
      channel = frame.channel;
      const registrations = only ?? this.of(frame.template ?? channel).filter((each) => hears(each, position));
      if (typeof channel !== 'string' || typeof frame.at !== 'number' || frame.data === undefined) {
        throw new InvalidMessageError('a message lacks channel, time or data');
      }
      if (registrations.length === 0) return;
      const place = { position: placeOf(position), replayed: only !== undefined };
      this.#call(registrations, this.#owner.decode(frame), frame, place);
    } catch (cause) {
      const error =
        cause instanceof InvalidMessageError ? cause : new InvalidMessageError('a message cannot be read', { cause });
      this.#owner.report(error, channel === undefined ? {} : { channel });
    }
  }

  #call(
    registrations: readonly Registration[],
    message: unknown,
    { channel, type, at }: MessageFrame,
    place: Pick<ClientMessageContext, 'position' | 'replayed'>,
  ): void {
    for (const registration of registrations) {
      if (registration.closed) continue;
      const { segments, type: expected } = registration.target;
      // By name too: a class that was evaluated anew, as by a hot update, goes on under its name.
      if (expected && type !== typeName(expected) && !isInstance(message, expected)) {
        this.#owner.report(new InvalidMessageError(`it is ${type ?? 'plain'}, no ${typeName(expected)}`), { channel });
        continue;
      }
      const params = segments ? paramsOf(segments, channel.split('/')) : {};
      const context: ClientMessageContext = { channel, params, type, postedAt: at, ...place };
      isolate(
        () => registration.receiver.message(message as never, context),
        (error) => this.#owner.report(error, { channel }),
      );
    }
  }
}

/** Whether a message at a position is for a listener: the past may have brought a listener further than the others. */
function hears({ listener, until }: Registration, position: Position | undefined): boolean {
  return !listener && !(until && isUpTo(position, until));
}
