import { Deferred } from '../core/deferred.js';
import type { OutboundGate } from './outbound-gate.js';
import { LINE_BREAK, MAX_BATCH_BYTES, MAX_BATCH_PAYLOADS, joinPayloads } from './payload-batch.js';
import { PostProblem, type PublisherListener } from './post-problem.js';
import { isReply } from './redis-client.js';
import { UnsettledPosts } from './unsettled-posts.js';

/** How much may wait for Redis, in bytes of payload; what comes on top is not accepted. */
export const MAX_PENDING_BYTES = 16 * 1024 * 1024;

/** How long posts wait for others at most while Redis is busy with earlier ones. */
const MAX_DELAY_MS = 1;

/** What posts go out by. */
export interface PublishLink {
  /** Whether posts can be sent. */
  readonly isUp: boolean;
  /** Where to. */
  readonly publishing: { publish(channel: string, payload: string): Promise<unknown> };
  /** Posts have not been answered in time. */
  overdue(): void;
  /** Whether an error says that a post was not sent, or was sent to a Redis that is not the one for it. It is sent again. */
  isUnsent(error: Error): boolean;
  /** All that was sent has been answered. */
  idle?(): void;
}

/** How much waits for Redis; one for all publishers of a transport. */
export class PendingBytes {
  /** Of what waits, and of what was sent and not answered, even if nobody waits for it any more: it still fills a buffer. */
  current = 0;
}

/** Payloads of one channel that go in one PUBLISH. */
interface Batch {
  /** Rises with each batch. */
  readonly number: number;
  readonly channel: string;
  readonly payloads: string[];
  bytes: number;
  readonly deadline: number;
  readonly accepted: Promise<boolean>;
  /** Absent once the batch is settled. */
  resolve: ((accepted: boolean) => void) | undefined;
  isSent: boolean;
}

/**
 * Publishes in order over a link that comes and goes. Posts go at the end of the turn of the event loop where Redis has
 * answered all that it was sent before, else with its answer or after {@link MAX_DELAY_MS}; those that follow each other
 * on one channel in one PUBLISH. So the busier Redis is, the more go in one. While the link is down they wait, within
 * bounds of time and bytes. A post is sent at most once.
 */
export class RedisPublisher {
  // Batches that were not sent yet and may still be, in order.
  private waiting: Batch[] = [];
  // The last of them, where it takes further posts. Not one for each channel: posts to another channel in between would
  // be overtaken, which would surprise whoever listens to both.
  private filling: Batch | undefined = undefined;
  private unflushedBytes = 0;
  private readonly unsettled = new UnsettledPosts<Batch>();
  // Of what was sent and not answered, in bytes.
  private sentBytes = 0;
  private unanswered = 0;
  private batches = 0;
  private session = 0;
  private isTurnEnding = false;
  private delay: NodeJS.Timeout | undefined = undefined;
  private timer: NodeJS.Timeout | undefined = undefined;
  private link: PublishLink | undefined = undefined;
  private gate: OutboundGate | undefined = undefined;
  private isClosed = false;
  // Runs while posts are held although the link is up.
  private holding: NodeJS.Timeout | undefined = undefined;
  // Holds until Redis accepts a post again, also over a new link: that one is up says nothing of posts.
  private readonly problem: PostProblem;

  /**
   * @param timeoutMs - how long a post may take
   */
  constructor(
    private readonly timeoutMs: number,
    listener: PublisherListener,
    private readonly pending = new PendingBytes(),
  ) {
    this.problem = new PostProblem(listener);
  }

  /**
   * Gives it the link to publish over; once.
   *
   * @param gate - in front of it, if the link itself has none
   */
  attach(link: PublishLink, gate?: OutboundGate): void {
    this.link = link;
    this.gate = gate;
  }

  /**
   * Never rejects.
   *
   * @param isAlone - whether it is for readers that do not know batches
   * @returns whether Redis accepted the payload in time
   */
  publish(channel: string, payload: string, isAlone = false): Promise<boolean> {
    const bytes = Buffer.byteLength(payload);
    if (this.isClosed || this.pending.current + bytes > MAX_PENDING_BYTES) return Promise.resolve(false);
    this.pending.current += bytes;
    const isJoinable = !isAlone && !payload.includes(LINE_BREAK);
    let batch = this.filling;
    if (batch === undefined || !isJoinable || batch.channel !== channel) {
      batch = this.createBatch(channel);
      this.filling = isJoinable ? batch : undefined;
    }
    batch.payloads.push(payload);
    batch.bytes += bytes;
    this.unflushedBytes += bytes;
    if (this.unflushedBytes >= MAX_BATCH_BYTES || batch.payloads.length >= MAX_BATCH_PAYLOADS) this.flush();
    else this.flushLater();
    return batch.accepted;
  }

  /** The link is up, or its gate open: sends what has waited. */
  up(): void {
    this.flush();
  }

  /**
   * Has posts wait although the link is up, until {@link release}. Those that had waited for the link are never sent before
   * that: it ends by itself after the time that a post may take.
   */
  hold(): void {
    this.holding ??= setTimeout(() => this.release(), this.timeoutMs).unref();
  }

  /** Sends what has waited since {@link hold}. */
  release(): void {
    if (this.holding === undefined) return;
    clearTimeout(this.holding);
    this.holding = undefined;
    this.flush();
  }

  /** The link is down: what was sent and not answered never will be, and is not sent again. */
  down(): void {
    this.session++;
    clearTimeout(this.holding);
    this.holding = undefined;
    this.unanswered = 0;
    this.pending.current -= this.sentBytes;
    this.sentBytes = 0;
    for (const batch of this.unsettled) if (batch.isSent) this.settle(batch, false);
    this.unsettled.tidy();
  }

  /** Sends what waits, where it can, and waits for nothing. */
  close(): void {
    this.flush();
    this.isClosed = true;
    clearTimeout(this.timer);
    clearTimeout(this.holding);
    for (const batch of this.unsettled) this.settle(batch, false);
    for (const batch of this.waiting) this.pending.current -= batch.bytes;
    this.waiting = [];
    this.unsettled.tidy();
  }

  /** Whether something was sent and has not been answered. */
  get isWaitingForAnswers(): boolean {
    return this.unanswered > 0;
  }

  private get canSend(): boolean {
    return this.link?.isUp === true && this.holding === undefined && this.gate?.isOpen !== false;
  }

  private createBatch(channel: string): Batch {
    const { promise: accepted, resolve } = new Deferred<boolean>();
    const deadline = performance.now() + this.timeoutMs;
    const number = ++this.batches;
    const batch: Batch = { number, channel, payloads: [], bytes: 0, deadline, accepted, resolve, isSent: false };
    this.waiting.push(batch);
    this.unsettled.add(batch);
    this.timer ??= setTimeout(this.expire, this.timeoutMs);
    return batch;
  }

  private flushLater(): void {
    if (this.unanswered > 0 && this.canSend) {
      this.delay ??= setTimeout(this.flush, MAX_DELAY_MS).unref();
    } else if (!this.isTurnEnding) {
      this.isTurnEnding = true;
      queueMicrotask(() => {
        this.isTurnEnding = false;
        this.flush();
      });
    }
  }

  private readonly flush = (): void => {
    clearTimeout(this.delay);
    this.delay = undefined;
    // Also while the link is down: posts of another turn have another deadline.
    this.filling = undefined;
    this.unflushedBytes = 0;
    if (!this.canSend) return;
    const { waiting } = this;
    this.waiting = [];
    for (const batch of waiting) this.send(batch);
  };

  private send(batch: Batch): void {
    const { session } = this;
    batch.isSent = true;
    this.sentBytes += batch.bytes;
    this.unanswered++;
    const answered = (error: Error | undefined): void => {
      // Of a link that is gone: counted already.
      if (session !== this.session) return;
      this.unanswered--;
      this.sentBytes -= batch.bytes;
      if (error !== undefined && this.link!.isUnsent(error) && batch.resolve !== undefined) {
        this.takeBack(batch);
      } else {
        if (error !== undefined) this.refused(batch, error);
        else this.problem.accepted(batch.channel);
        this.pending.current -= batch.bytes;
        this.settle(batch, error === undefined);
        this.unsettled.tidy();
        if (this.unanswered === 0 && this.waiting.length > 0) this.flush();
      }
      if (this.unanswered === 0) this.link!.idle?.();
    };
    this.link!.publishing.publish(batch.channel, joinPayloads(batch.payloads)).then(
      () => answered(undefined),
      answered,
    );
  }

  private refused({ channel, resolve }: Batch, error: Error): void {
    // An error that is no answer is one of the link.
    if (resolve === undefined || !isReply(error)) return;
    this.problem.refused(channel, error);
  }

  /** To its place among those that wait. */
  private takeBack(batch: Batch): void {
    batch.isSent = false;
    const later = this.waiting.findIndex(({ number }) => number > batch.number);
    this.waiting.splice(later < 0 ? this.waiting.length : later, 0, batch);
  }

  private settle(batch: Batch, accepted: boolean): void {
    const { resolve } = batch;
    batch.resolve = undefined;
    resolve?.(accepted);
  }

  private readonly expire = (): void => {
    const now = performance.now();
    let isUnanswered = false;
    for (const batch of this.unsettled) {
      if (batch.deadline > now) break;
      if (batch.resolve === undefined) continue;
      if (batch.isSent) isUnanswered = true;
      else this.pending.current -= batch.bytes;
      this.settle(batch, false);
    }
    this.unsettled.tidy();
    this.waiting = this.waiting.filter((batch) => batch.resolve !== undefined);
    const next = this.unsettled.oldest;
    this.timer = next && setTimeout(this.expire, next.deadline - now);
    if (!isUnanswered || !this.link?.isUp) return;
    this.problem.unanswered();
    this.link.overdue();
  };
}
