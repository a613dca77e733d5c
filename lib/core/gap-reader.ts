import type { Position } from '../protocol/position.js';
import type { Delivery } from './delivery.js';
import type { Gap } from './gap.js';

/** Passes on the messages of streams. It is told of more, since operators carry messages alone. */
export interface GapReader {
  /** Of a loss. */
  gap(gap: Gap): void;
  /** That it subscribes to a channel with history. @returns whom to tell of its messages; `undefined`: nobody */
  follow?(channel: string): Following | undefined;
}

/** Follows the messages of a subscription to a channel with history. */
export interface Following {
  /** Where the subscription begins, whatever it was made with. */
  readonly after: Position | undefined;
  /** A message goes to the subscriber now. */
  begin(delivery: Delivery): void;
  /** It has gone there. */
  end(): void;
  /** It has had the past, if it began there. @param position - where the channel was, if there was no message before */
  arrived(position: Position): void;
  /** Whether the subscriber can take more at once. */
  readonly keepsUp: boolean;
  /** Resolves when the subscriber has taken what it was given. */
  drained(): Promise<void>;
  /** The subscription has ended. */
  close(): void;
}
