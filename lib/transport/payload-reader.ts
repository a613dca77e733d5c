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

/** Hands over the payloads in what comes from Redis. */
export class PayloadReader {
  private receiver: TransportReceiver | undefined = undefined;
  private events: TransportEvents = {};
  private readonly maxBatchLength: number;

  /**
   * @param mark - begins the packets for stock parts that this application itself publishes
   * @param maxMessageBytes - the longest payload; bounds what a batch of them may be
   */
  constructor(
    private readonly mark: string,
    maxMessageBytes: number,
  ) {
    this.maxBatchLength = maxBatchLength(maxMessageBytes);
  }

  /** Gives it who gets the payloads, and who is told of the rest; once. */
  attach(receiver: TransportReceiver, events: TransportEvents): void {
    this.receiver = receiver;
    this.events = events;
  }

  /** @param isPlain - whether it came by a name without our prefix */
  read(text: string, name: string, channel: string, isPlain: boolean): void {
    // Most come alone, and a split would be dearer than the look.
    if (!isPlain && text.startsWith(LINE_BREAK)) this.readBatch(text, name, channel);
    // What this application publishes for stock parts has come by its own name already.
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

  /** See {@link TransportEvents.rejected}. */
  reject(channel: string, error: Error): void {
    this.events.rejected?.(channel, error);
  }

  private readBatch(text: string, name: string, channel: string): void {
    if (isOfHistory(text)) return this.readHistory(text, name, channel);
    const { payloads, isCut } = splitPayloads(text, this.maxBatchLength);
    for (const payload of payloads) this.receiver!(payload, name, channel);
    if (!isCut) return;
    const bound = `${MAX_BATCH_PAYLOADS} messages and ${this.maxBatchLength} characters`;
    const problem = `a batch of ${text.length} characters is longer than this server takes, which is ${bound}`;
    this.events.rejected?.(channel, new InvalidMessageError(`${problem}; the rest is dropped`));
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
