import type { GapReason, Position } from '../protocol/position.js';
import type { Told } from './told-losses.js';

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

/** A gap that waits to be reported. */
export interface WaitingGap {
  readonly gap: Gap;
  /** The channels of the template that lack something; more may be added. Absent if any of its channels may. */
  readonly channels: Set<string> | undefined;
  /** Listeners that know of the loss; those that are told are added. */
  readonly told?: Told | undefined;
}
