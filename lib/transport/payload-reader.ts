import type { TransportEvents, TransportReceiver } from '../core/transport.js';
import { InvalidMessageError } from '../protocol/errors.js';
import {
  LINE_BREAK,
  MAX_BATCH_PAYLOADS,
  isOfHistory,
  maxBatchLength,
  splitHistory,
  splitPayloads,
  type SplitHistory,
} from './payload-batch.js';
import { RecalledPosts, isRecall } from './recalled-posts.js';

/** Reads the payloads in text from Redis. */
export class PayloadReader {
  private receiver: TransportReceiver | undefined = undefined;
  private events: TransportEvents = {};
  private readonly recalled = new RecalledPosts();
  private readonly maxBatchLength: number;

  /**
   * @param mark - the prefix of this application's own packets for stock parts of Nest
   * @param maxMessageBytes - the longest payload; also limits a batch
   */
  constructor(
    private readonly mark: string,
    maxMessageBytes: number,
  ) {
    this.maxBatchLength = maxBatchLength(maxMessageBytes);
  }

  /** Sets the receivers of payloads and of events. Call it once. */
  attach(receiver: TransportReceiver, events: TransportEvents): void {
    this.receiver = receiver;
    this.events = events;
  }

  /** @param isPlain - whether it arrived on a channel without this library's prefix */
  read(text: string, name: string, channel: string, isPlain: boolean): void {
    if (!isPlain && this.recalled.has(text)) return;
    // Most payloads come alone, and a split would cost more than this check.
    if (!isPlain && text.startsWith(LINE_BREAK)) this.readBatch(text, name, channel);
    // This application's packets for stock parts have already arrived under the prefixed name.
    else if (!isPlain || !text.startsWith(this.mark)) this.receiver!(text, name, channel);
  }

  /** See {@link TransportEvents.lost}. */
  lost(name: string, forMs: number): void {
    this.events.lost?.(name, 'broker', forMs);
  }

  /** See {@link TransportEvents.interrupted}. */
  interrupted(): void {
    this.events.interrupted?.();
  }

  /** See {@link TransportEvents.warned}. */
  warn(text: string): void {
    this.events.warned?.(text);
  }

  /** See {@link TransportEvents.rejected}. */
  reject(channel: string, error: Error): void {
    this.events.rejected?.(channel, error);
  }

  private readBatch(text: string, name: string, channel: string): void {
    if (isOfHistory(text)) return this.readHistory(text, name, channel);
    if (isRecall(text)) return this.readRecall(text, channel);
    const { payloads, isCut } = splitPayloads(text, this.maxBatchLength);
    for (const payload of payloads) this.receiver!(payload, name, channel);
    if (!isCut) return;
    const bound = `${MAX_BATCH_PAYLOADS} messages and ${this.maxBatchLength} characters`;
    const problem = `a batch of ${text.length} characters is longer than this server takes, which is ${bound}`;
    this.events.rejected?.(channel, new InvalidMessageError(`${problem}; the rest is dropped`));
  }

  private readRecall(text: string, channel: string): void {
    try {
      this.recalled.note(text);
    } catch (error) {
      this.events.rejected?.(channel, error as Error);
    }
  }

  private readHistory(text: string, name: string, channel: string): void {
    let batch: SplitHistory;
    try {
      batch = splitHistory(text, this.maxBatchLength);
    } catch (error) {
      this.events.rejected?.(channel, error as Error);
      return;
    }
    const { payloads, position } = batch;
    const { epoch } = position;
    let { offset } = position;
    for (const payload of payloads) this.receiver!(payload, name, channel, { epoch, offset: offset++ });
  }
}
