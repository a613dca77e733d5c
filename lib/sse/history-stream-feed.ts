import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import { knownPosition } from '../core/known-position.js';
import type { Heard } from '../core/listener.js';
import type { ReplayStart } from '../core/replay.js';
import { placeId } from '../protocol/place-id.js';
import type { GapReason, Position } from '../protocol/position.js';
import type { FeedPlace } from './feed.js';
import { gapFrame, type Frame } from './frame.js';
import { HistoryPages } from './history-pages.js';
import { placedFrame, positionFrame } from './message-frame.js';
import { PastReading, type Present } from './past-reading.js';
import { StreamFeed, type StreamFeedContext, type StreamFeedPlace } from './stream-feed.js';
import type { WorkQueue } from './work-queue.js';

/**
 * A feed of one channel with history. Its frames have their positions as `id`. Readers may begin with earlier messages: each reads them on
 * its own, and joins the others in the turn in which it has caught up.
 */
export class HistoryStreamFeed extends StreamFeed implements Present {
  readonly pages: HistoryPages;
  last: Position | undefined = undefined;
  /** Readers that have not joined the others yet. */
  private readonly past = new Map<FeedPlace, PastReading>();
  /** Readers that need the position of the channel when it is known. */
  private newcomers: StreamFeedPlace[] | undefined = undefined;

  constructor(context: StreamFeedContext, heard: Heard, ended: () => void) {
    super(context, heard, ended);
    this.pages = new HistoryPages(context.hub, heard.channel);
  }

  get hub(): Hub {
    return this.context.hub;
  }

  get queue(): WorkQueue {
    return this.context.queue;
  }

  get channel(): string {
    return this.heard.channel;
  }

  override get hasReaders(): boolean {
    return super.hasReaders || this.past.size > 0;
  }

  override enter(place: StreamFeedPlace, start?: ReplayStart): void {
    if (start === undefined) {
      this.join(place);
      this.greet(place);
      return;
    }
    const arrive = (): void => {
      this.past.delete(place);
      this.join(place);
    };
    this.past.set(place, new PastReading(this, place.reader, start, arrive));
  }

  override leave(place: FeedPlace): void {
    this.past.get(place)?.close();
    this.past.delete(place);
    super.leave(place);
  }

  protected override frameOf(delivery: Delivery): Frame {
    const { position } = delivery;
    // A sender without histories may have posted it.
    if (position !== undefined) this.comeTo(position);
    return placedFrame(this.hub, delivery);
  }

  protected override lost(reason: GapReason, position: Position | undefined): void {
    this.pages.forget();
    if (position !== undefined) this.last = position;
    this.send(gapFrame({ channel: this.channel, reason }, position && placeId(position)));
    for (const reading of this.past.values()) reading.lost();
  }

  private comeTo(position: Position): void {
    this.pages.forget();
    for (const reading of this.past.values()) reading.heard(position);
    this.last = position;
  }

  /** Tells a reader its starting position, so that it can resume before the first message. */
  private greet(place: StreamFeedPlace): void {
    if (this.last !== undefined) place.reader.next(positionFrame(this.channel, this.last));
    else if (this.newcomers !== undefined) this.newcomers.push(place);
    else void this.greetLater([place]);
  }

  private async greetLater(newcomers: StreamFeedPlace[]): Promise<void> {
    this.newcomers = newcomers;
    await this.ready;
    // A message before the answer contains the position itself.
    const isWanted = (): boolean => this.last === undefined && this.hasReaders;
    const position = await knownPosition(this.hub, this.channel, isWanted);
    this.newcomers = undefined;
    if (position === undefined || !isWanted()) return;
    const frame = positionFrame(this.channel, position);
    for (const place of newcomers) if (this.has(place)) place.reader.next(frame);
  }
}
