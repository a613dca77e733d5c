import type { Delivery } from '../core/delivery.js';
import type { Gap } from '../core/gap.js';
import type { Hub } from '../core/hub.js';
import type { Following } from '../core/gap-reader.js';
import { placeId } from '../protocol/place-id.js';
import type { Position } from '../protocol/position.js';
import { Frame } from './frame.js';
import { eventFrame, placedFrame, positionFrame, withId } from './message-frame.js';

/** What frames go out by. */
export interface ProgressOutput {
  send(frame: Frame): void;
  readonly keepsUp: boolean;
  drained(): Promise<void>;
}

/**
 * How far an event stream is in the channel with history that operators make it of. An `id` says that everything up to it has been
 * sent, so it goes with the last event that comes of a message. Of several channels, or one several times, there is no place
 * that one `id` could name: such a stream has none.
 */
export class StreamProgress implements Following {
  /** That of the first subscription to a channel with history: `Last-Event-ID` is of it. */
  private channel: string | undefined = undefined;
  private subscriptions = 0;
  private isSeveral = false;
  /** Up to where the stream has been sent everything, as far as that is known. */
  private passed: Position | undefined = undefined;
  /** What is passed on right now. */
  private current: Delivery | undefined = undefined;
  /** The last event that came of it until now. */
  private held: Frame | undefined = undefined;

  /** @param resumesAfter - where the client says that it is */
  constructor(
    private readonly hub: Hub,
    private readonly output: ProgressOutput,
    readonly resumesAfter: Position | undefined,
  ) {}

  /** See {@link Following.after}: until there is a message, since later subscriptions are for what comes from then on. */
  get after(): Position | undefined {
    return this.passed === undefined ? this.resumesAfter : undefined;
  }

  /** A stream of a channel is subscribed to. @returns who is told of its messages */
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
   * @returns what is to be sent now; `undefined`: nothing yet
   */
  hold(frame: Frame): Frame | undefined {
    if (this.current === undefined) return frame;
    const { held } = this;
    this.held = frame;
    return held;
  }

  /** Sends what is held, since something else comes that has an id of its own, or the end. */
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
    // Streams that send the message as it is share its frame.
    return frame === eventFrame(this.hub, delivery)
      ? placedFrame(this.hub, delivery)
      : withId(frame, placeId(position));
  }
}

/** A subscription to another channel. */
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
