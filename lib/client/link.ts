import type { ChannelAnswer } from '../protocol/gateway.js';
import type { MessagingClientOptions } from './client-options.js';
import type { ClientStatus } from './client-status.js';

/**
 * What brings the messages of channels, by their names. It keeps itself connected while a channel is wanted and asks for
 * all of them again after it was not.
 */
export interface Link {
  /**
   * Wants a channel, also again. Each call is followed by an answer, unless the channel is dropped or the link closed
   * before; never within the call.
   */
  want(channel: string): void;
  /** Wants it no more. */
  drop(channel: string): void;
  /** Ends all of it at once. The receiver is told, unless it has closed before. */
  close(): void;
}

/** Whom a {@link Link} tells what happens. None of these throws. */
export interface LinkReceiver {
  /** After `closed` comes nothing. */
  status(status: ClientStatus): void;
  /** A channel that is refused is wanted no more. It may have been subscribed to before: after a reconnect. */
  answer(answer: ChannelAnswer): void;
  /**
   * `MessageFrame`s in order, as texts that nobody has checked; those that came while a stream was away all at
   * once, and none where only the {@link Progress} has changed.
   */
  messages(data: readonly string[]): void;
  /** A `MessageGap`, as text that nobody has checked. */
  gap(data: string): void;
}

/** How far a stream that has broken off was read. */
export interface Progress {
  /** See `OpenRequest`. */
  readonly position: string;
  /** The channels that it had. */
  readonly channels: Set<string>;
}

/** Makes the link of a client. */
export type LinkFactory = (options: MessagingClientOptions, receiver: LinkReceiver) => Link;
