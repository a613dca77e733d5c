import type { ChannelAnswer } from '../protocol/gateway.js';
import type { Position } from '../protocol/position.js';
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
  /** Wants some of the past of a channel that is wanted, for one listener; with nothing, no more of it. */
  replay(listener: string, past?: Past): void;
  /** Looks at once whether it is still connected, and connects at once if it waits to do so. */
  retryNow(): void;
  /** Ends all of it at once. The receiver is told, unless it has closed before. */
  close(): void;
}

/** What of the past of a channel is wanted. */
export interface Past {
  readonly channel: string;
  /** So many of the last messages, or all after a position. */
  start: number | Position;
}

/** What comes of a {@link Past}: a message; a gap; that it is complete; or that it cannot be had. */
export interface Replayed {
  readonly listener: string;
  /** See {@link LinkReceiver.message}. */
  readonly frame?: unknown;
  /** A `MessageGap`. */
  readonly gap?: unknown;
  /** That of the message, or up to where the past has come. */
  readonly position?: Position | undefined;
  /** What comes is for the listener too. */
  readonly isDone?: boolean;
  readonly error?: string | undefined;
}

/** Whom a {@link Link} tells what happens. None of these throws. */
export interface LinkReceiver {
  /** After `closed` comes nothing. */
  status(status: ClientStatus): void;
  /** A channel that is refused is wanted no more. It may have been subscribed to before: after a reconnect. */
  answer(answer: ChannelAnswer): void;
  /**
   * A `MessageFrame` that nobody has checked, or the error that reading it failed with.
   *
   * @param id - its offset in its channel, if it has one
   * @param position - the same with its epoch, if the server numbers messages
   */
  message(frame: unknown, id?: string, position?: Position): void;
  /** Something of the past for one listener. */
  replayed(told: Replayed): void;
  /** A `MessageGap` that nobody has checked, or the error that reading it failed with. */
  gap(gap: unknown): void;
}
