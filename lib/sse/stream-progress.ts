import type { Delivery } from '../core/delivery.js';
import type { Gap } from '../core/gap.js';
import type { Hub } from '../core/hub.js';
import type { Following } from '../core/gap-reader.js';
import { placeId } from '../protocol/place-id.js';
import type { Position } from '../protocol/position.js';
import { Frame } from './frame.js';
import { eventFrame, placedFrame, positionFrame, withId } from './message-frame.js';

/** Sends the frames of a stream. */
export interface ProgressOutput {
  send(frame: Frame): void;
  readonly keepsUp: boolean;
  drained(): Promise<void>;
}

/**
 * Tracks the position of an event stream that operators make of a channel with history. An `id` says that everything up to it has been
 * sent, so it goes with the last event of a message. For several channels, or one subscribed several times, no single `id` can name the
 * position: such a stream has no ids.
 */
export class StreamProgress implements Following {
  /** The channel of the first subscription with history: `Last-Event-ID` refers to it. */
  private channel: string | undefined = undefined;
  private subscriptions = 0;
  private isSeveral = false;
  /** The position up to which the stream has sent everything, as far as known. */
  private passed: Position | undefined = undefined;
  /** The message that operators are processing right now. */
  private current: Delivery | undefined = undefined;
  /** The latest event from that message. */
  private held: Frame | undefined = undefined;

  /** @param resumesAfter - the position that the client sent */
  constructor(
    private readonly hub: Hub,
    private readonly output: ProgressOutput,
    readonly resumesAfter: Position | undefined,
  ) {}

  /** See {@link Following.after}. Applies only until the first message, since later subscriptions are for new messages. */
  get after(): Position | undefined {
    return this.passed === undefined ? this.resumesAfter : undefined;
  }

  /** The stream subscribes to a channel. @returns the follower of its messages */
  follow(channel: string): Following {
    this.channel ??= channel;
    if (this.subscriptions++ > 0 || channel !== this.channel) this.isSeveral = true;
    return channel === this.channel ? this : new Elsewhere(this);
  }

  begin(delivery: Delivery): void {
    this.current = delivery;
  }

  end(): void {
    const { current, held } = this;
    this.current = undefined;
    this.held = undefined;
    this.passed = current?.position;
    if (held !== undefined) this.output.send(this.placed(held, current));
  }

  arrived(position: Position): void {
    this.passed ??= position;
    if (!this.isSeveral) this.output.send(positionFrame(this.channel!, this.passed));
  }

  get keepsUp(): boolean {
    return this.output.keepsUp;
  }

  drained(): Promise<void> {
    return this.output.drained();
  }

  close(): void {
    this.subscriptions--;
  }

  /**
   * Takes an event without an id.
   *
   * @returns the frame to send now; `undefined`: none yet
   */
  hold(frame: Frame): Frame | undefined {
    if (this.current === undefined) return frame;
    const { held } = this;
    this.held = frame;
    return held;
  }

  /** Sends the held event, because another one with its own id, or the end, follows. */
  release(): void {
    const { held } = this;
    this.held = undefined;
    if (held !== undefined) this.output.send(held);
  }

  /** The `id` of a gap. */
  idOf({ channel, position }: Gap): string | undefined {
    if (position === undefined || this.isSeveral || channel !== this.channel) return undefined;
    this.passed = position;
    return placeId(position);
  }

  private placed(frame: Frame, delivery: Delivery | undefined): Frame {
    const position = delivery?.position;
    if (delivery === undefined || position === undefined || this.isSeveral) return frame;
    // Streams that send the message unchanged share its frame.
    return frame === eventFrame(this.hub, delivery)
      ? placedFrame(this.hub, delivery)
      : withId(frame, placeId(position));
  }
}

/** A follower of another channel. */
class Elsewhere implements Following {
  readonly after = undefined;

  constructor(private readonly progress: StreamProgress) {}

  begin(): void {}

  end(): void {}

  arrived(): void {}

  get keepsUp(): boolean {
    return this.progress.keepsUp;
  }

  drained(): Promise<void> {
    return this.progress.drained();
  }

  close(): void {
    this.progress.close();
  }
}
