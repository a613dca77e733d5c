import type { GapReason, Position } from '../protocol/position.js';

/** Messages of a channel may be missing here. */
export interface Gap {
  /** The name or template that was listened to. */
  readonly channel: string;
  /** Why. */
  readonly reason: GapReason;
  /** From where the channel goes on, if it has positions on this server. */
  readonly position?: Position | undefined;
}

/** Told once of each loss, in its place among the messages; see `ListenOptions.onGap`. */
export type GapListener = (gap: Gap) => unknown;

/** A gap that waits for its turn. */
export interface WaitingGap {
  readonly gap: Gap;
  /** The only channels of the template that lack something, if it is not known that all may; more are added. */
  readonly channels: Set<string> | undefined;
}
