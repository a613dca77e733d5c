import type { Position } from '../protocol/position.js';
import type { Delivery } from './delivery.js';
import type { Gap } from './gap.js';

/** Passes on the messages of streams. Operators carry only messages, so it learns of everything else here. */
export interface GapReader {
  /** Called for a loss. */
  gap(gap: Gap): void;
  /** Called when it subscribes to a channel with history. @returns the follower of its messages; `undefined`: none */
  follow?(channel: string): Following | undefined;
}

/** Follows the messages of a subscription to a channel with history. */
export interface Following {
  /** The position where the subscription begins, whatever its options say. */
  readonly after: Position | undefined;
  /** A message goes to the subscriber now. */
  begin(delivery: Delivery): void;
  /** The message has reached the subscriber. */
  end(): void;
  /** The subscriber has the past, if it began there. @param position - of the channel, if there was no earlier message */
  arrived(position: Position): void;
  /** Whether the subscriber can take more right now. */
  readonly keepsUp: boolean;
  /** Resolves when the subscriber has taken everything it was given. */
  drained(): Promise<void>;
  /** The subscription has ended. */
  close(): void;
}
