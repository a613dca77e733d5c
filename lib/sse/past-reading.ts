import { gapReasonOf } from '../core/histories.js';
import type { Hub } from '../core/hub.js';
import type { DeliveriesRead, ReplayStart } from '../core/replay.js';
import { isLastPage } from '../core/history-store.js';
import { isBehind, isNext } from '../core/ordered-channel.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import { placeId } from '../protocol/place-id.js';
import type { Position } from '../protocol/position.js';
import { gapFrame, type Frame } from './frame.js';
import type { HistoryPages } from './history-pages.js';
import { placedFrame, positionFrame } from './message-frame.js';
import type { WorkQueue } from './work-queue.js';

/** How long to wait before a failed read is repeated. In milliseconds. */
const RETRY_MS = 500;

/** A reader of earlier messages. */
export interface PastReader {
  /** @returns `false` if the reader does not keep up: the next frame waits until it has {@link drained} */
  next(frame: Frame): boolean;
  drained(): Promise<void>;
}

/** The live feed that a reader joins after the earlier messages. */
export interface Present {
  readonly hub: Hub;
  readonly queue: WorkQueue;
  readonly channel: string;
  readonly pages: HistoryPages;
  /** The last message that was sent to the joined readers. */
  readonly last: Position | undefined;
  /** Resolves when no later message can be missed. */
  readonly ready: Promise<void>;
}

/**
 * Takes one reader from a position in the history of a channel to live messages. It reads a page when the reader has taken the previous
 * one, and keeps no live messages meanwhile: they are in the history too.
 */
export class PastReading {
  private state: 'reading' | 'waiting' | 'closed' = 'reading';
  /** The position before the first live message since the start: all later messages are wanted. */
  private liveFrom: Position | undefined;
  /** Whether it wants a number of last messages and has not got any yet. */
  private isCounting: boolean;
  private hasArrived = false;
  /** Whether it has checked once more because the live feed seems to be in another epoch. */
  private hasDoubted = false;
  private hasReported = false;
  private retry: NodeJS.Timeout | undefined = undefined;

  /**
   * @param at - the position up to which the reader has everything
   * @param arrive - called when the reader gets live messages from now on
   */
  constructor(
    private readonly present: Present,
    private readonly reader: PastReader,
    private at: ReplayStart,
    private readonly arrive: () => void,
  ) {
    this.liveFrom = present.last;
    this.isCounting = typeof at === 'number';
    void present.ready.then(() => this.read());
  }

  /** The live feed has reached a message. Call it before that message is sent. */
  heard(position: Position): void {
    this.liveFrom ??= { epoch: position.epoch, offset: position.offset - 1 };
    if (this.state !== 'waiting') return;
    const at = this.at as Position;
    if (isNext(at, position)) this.finish();
    else if (!isBehind(at, position)) this.readOn();
  }

  /** The live feed has a gap. The messages may still be in the history. */
  lost(): void {
    if (this.state === 'waiting') this.readOn();
  }

  close(): void {
    this.state = 'closed';
    clearTimeout(this.retry);
  }

  private finish(): void {
    this.close();
    this.arrive();
  }

  private readOn(): void {
    this.state = 'reading';
    clearTimeout(this.retry);
    void this.read();
  }

  private readLater(): void {
    this.retry = setTimeout(() => this.readOn(), RETRY_MS).unref();
  }

  private async read(): Promise<void> {
    const { queue, pages, hub } = this.present;
    while (this.state === 'reading') {
      // Thousands of readers may come at once.
      await new Promise<void>((resolve) => queue.add(resolve));
      if (this.state !== 'reading') return;
      let page: DeliveriesRead;
      try {
        page = await pages.read(this.at);
      } catch (error) {
        this.readFailed(error);
        return;
      }
      if (this.state !== 'reading') return;
      const { at, liveFrom } = this;
      if (typeof at === 'number' && liveFrom !== undefined) {
        // Some of the last messages arrived after the start, so they are not earlier messages.
        const from = { epoch: liveFrom.epoch, offset: Math.max(0, liveFrom.offset - at) };
        if (isBefore(from, page.from)) {
          this.at = from;
          continue;
        }
      }
      await this.send(page, hub);
      this.at = page.next;
      if (this.state === 'reading' && isLastPage(page) && this.hasReached()) return;
    }
  }

  private readFailed(error: unknown): void {
    const { hub, channel } = this.present;
    // The status shows already that the link is down.
    if (!(error instanceof TransportUnavailableError) && !this.hasReported) {
      this.hasReported = true;
      hub.reporter.callbackFailed({ callback: 'Reading the history', channel, error });
    }
    if (this.state === 'reading') this.readLater();
  }

  private async send(page: DeliveriesRead, hub: Hub): Promise<void> {
    const { reader } = this;
    const { channel } = this.present;
    const { gap, from, deliveries } = page;
    // A reader of the last messages takes as many as there are.
    const isPast = this.liveFrom !== undefined && isBehind(this.liveFrom, from);
    const isTold = gap !== undefined && !(this.isCounting && gap === 'trimmed' && isPast);
    if (isTold) reader.next(gapFrame({ channel, reason: gapReasonOf(gap) }, placeId(from)));
    this.isCounting = false;
    for (const delivery of deliveries) {
      let keepsUp = true;
      try {
        keepsUp = reader.next(placedFrame(hub, delivery));
      } catch (error) {
        hub.reporter.messageRejected({ channel, error: error as Error });
      }
      if (!keepsUp) await reader.drained();
      if (this.state !== 'reading') return;
    }
  }

  /** @returns whether nothing more is to be read for now */
  private hasReached(): boolean {
    const { channel, last } = this.present;
    const at = this.at as Position;
    // In another epoch, either side may be the older one.
    const isOther = last !== undefined && last.epoch !== at.epoch;
    if (last !== undefined && !isOther && !isBehind(at, last)) return false;
    if (!this.hasArrived) this.reader.next(positionFrame(channel, at));
    this.hasArrived = true;
    if (last !== undefined && !isOther && last.offset === at.offset) {
      this.finish();
      return true;
    }
    this.state = 'waiting';
    if (isOther && !this.hasDoubted) this.readLater();
    this.hasDoubted = isOther;
    return true;
  }
}

function isBefore(place: Position, { epoch, offset }: Position): boolean {
  return place.epoch === epoch && place.offset < offset;
}
