import { paramsOf, quote } from '../protocol/channel-name.js';
import { ConfigurationError, InvalidMessageError } from '../protocol/errors.js';
import type { ChannelAnswer, MessageFrame } from '../protocol/gateway.js';
import { isInstance } from '../protocol/message-class.js';
import { typeName } from '../protocol/serializable.js';
import type { ClientStatus } from './client-status.js';
import { errorOf } from './error-of.js';
import { isolate } from './isolate.js';
import type { Position } from '../protocol/position.js';
import type { Link, LinkReceiver, Replayed } from './link.js';
import { isUpTo, nameOf, placeOf } from './positions.js';
import type { Registration } from './registration.js';

/** The client that subscriptions work for. */
export interface SubscriptionsOwner {
  decode(frame: MessageFrame): unknown;
  /** @param channel - of the message or subscription, if there is one */
  report(error: unknown, channel?: string): void;
  /** Takes what nobody has checked. */
  gap(gap: unknown): void;
  readonly status: (status: ClientStatus) => void;
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

  readonly status: SubscriptionsOwner['status'];

  constructor(owner: SubscriptionsOwner) {
    this.#owner = owner;
    this.status = owner.status;
  }

  /** The registrations of a channel as they are now. */
  of(channel: string): Registration[] {
    return [...(this.#channels.get(channel) ?? [])];
  }

  add(registration: Registration): void {
    const { channel } = registration;
    this.#channels.set(channel, (this.#channels.get(channel) ?? new Set()).add(registration));
    this.link.want(channel);
    const { past } = registration;
    if (past === undefined) return;
    const listener = String(Math.random());
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
    const call = (run: () => unknown): void => this.#isolate(run, channel);
    let isTold = true;
    call(() => void (isTold = receiver.ended(error, call)));
    return isTold;
  }

  /** Ends registrations, and sees to it that somebody is told of the error, if there is one. */
  fail(registrations: readonly Registration[], error?: Error): void {
    const [untold] = registrations.filter((registration) => !this.remove(registration, error));
    if (untold && error) this.#owner.report(error, untold.channel);
  }

  /** Ends all that there are now: one of them may begin others. */
  end(error?: Error): void {
    for (const registration of [...this.#channels].flatMap(([channel]) => this.of(channel)))
      this.remove(registration, error);
  }

  /** Takes what the server says of a channel. */
  answer({ channel, error: code }: ChannelAnswer): void {
    const registrations = this.of(channel);
    if (code) return this.fail(registrations, errorOf(code, `The server refuses channel ${quote(channel)}: ${code}`));
    for (const { receiver, listener } of registrations) if (!listener) receiver.confirmed?.();
  }

  /** Takes what comes of the past for one listener. */
  replayed({ listener, frame, gap, position, isDone, error }: Replayed): void {
    const registration = this.#listeners.get(listener);
    if (!registration) return;
    if (error) return this.fail([registration], new ConfigurationError(error));
    registration.receiver.confirmed?.();
    if (gap) this.#owner.gap(gap);
    else if (isDone) {
      this.#begin(registration);
      registration.until = position;
    } else this.message(frame, undefined, position, [registration]);
  }

  /** Takes a gap in a channel. Listeners that have later messages from the past, or will get them, have no gap. */
  gap(told: unknown): void {
    const position = (told as { readonly position?: Position } | null)?.position;
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

  /**
   * Takes a frame to those who listen to its channel, or to its template where it comes by that.
   *
   * @param only - whom it is replayed to
   */
  message(told: unknown, _id?: string, position?: Position, only?: readonly Registration[]): void {
    const frame = (told ?? {}) as MessageFrame;
    const { channel, template, type, at, data } = frame;
    this.#isolate(() => {
      if (told instanceof Error) throw new InvalidMessageError('a message cannot be read', { cause: told });
      if (typeof channel !== 'string' || typeof at !== 'number' || data === undefined) {
        throw new InvalidMessageError('a message has no channel, time or data');
      }
      const registrations = only ?? this.of(template ?? channel).filter((each) => hears(each, position));
      if (registrations.length === 0) return;
      const message = this.#owner.decode(frame) as never;
      const place = { position: placeOf(position), replayed: only !== undefined };
      for (const registration of registrations) {
        this.#isolate(() => {
          if (registration.closed) return undefined;
          const { segments, type: expected } = registration.target;
          // By name too: a class that was evaluated anew, as by a hot update, goes on under its name.
          if (expected && type !== typeName(expected) && !isInstance(message, expected)) {
            throw new InvalidMessageError(`it is ${type ?? 'plain'}, no ${typeName(expected)}`);
          }
          const params = segments ? paramsOf(segments, channel.split('/')) : {};
          return registration.receiver.message(message, { channel, params, type, postedAt: at, ...place });
        }, channel);
      }
    }, channel);
  }

  #isolate(run: () => unknown, channel: string): void {
    isolate(run, (error) => this.#owner.report(error, channel));
  }
}

/** Whether a message at a position is for a listener: the past may have brought a listener further than the others. */
function hears({ listener, until }: Registration, position: Position | undefined): boolean {
  return !listener && !(until && isUpTo(position, until));
}
