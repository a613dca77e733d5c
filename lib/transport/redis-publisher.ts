import type { OutboundGate } from './outbound-gate.js';
import { MAX_BATCH_BYTES, MAX_BATCH_PAYLOADS, joinPayloads } from './payload-batch.js';
import { PostProblem, type PublisherListener } from './post-problem.js';
import { isReply } from './redis-client.js';
import { UnsettledPosts } from './unsettled-posts.js';
import { AbandonedPosts, RecallLoad } from './recalled-posts.js';

/** How many bytes of payload may wait for Redis. Further posts are not accepted. */
export const MAX_PENDING_BYTES = 16 * 1024 * 1024;

/** How long posts wait for more while Redis is busy with earlier ones. */
const MAX_DELAY_MS = 1;

// Not queueMicrotask(), which makes a resource of its own for each call.
const NOW = Promise.resolve();

/** The link that posts are sent over. */
export interface PublishLink {
  /** Whether posts can be sent. */
  readonly isUp: boolean;
  /** The client to publish with. */
  readonly publishing: { publish(channel: string, payload: string): Promise<unknown> };
  /** Posts have not been answered in time. */
  overdue(): void;
  /** Whether a post was not sent, or was sent to a Redis that is not responsible for it. It is then sent again. */
  isUnsent(error: Error): boolean;
  /** Several posts follow in this turn: they go out together. */
  gather?(): void;
  /** Everything that was sent has been answered. */
  idle?(): void;
}

/** The bytes that wait for Redis, and what is to be recalled; shared by all publishers of a transport. */
export class PendingBytes {
  readonly recalls = new RecallLoad();
  /** The bytes of waiting posts and of unanswered ones, even if nobody waits for them any more: they still fill a buffer. */
  current = 0;
}

/** Payloads of one channel that share one PUBLISH. */
class PublishBatch {
  isSent = false;
  /** How many posts Redis had accepted when it was sent. */
  acceptedBefore = 0;
  /** Absent once the batch is settled. */
  resolve: ((accepted: boolean) => void) | undefined = undefined;
  readonly accepted = new Promise<boolean>((resolve) => (this.resolve = resolve));

  constructor(
    /** Rises with each batch. */
    readonly number: number,
    readonly channel: string,
    /** Its first payload; all of them once it takes no more. */
    public text: string,
    /** The size of `text`; until then, an estimate. */
    public bytes: number,
    readonly deadline: number,
  ) {}
}

/**
 * Publishes in order over a link that may break. Posts are sent at the end of the turn of the event loop if Redis has answered everything
 * before; otherwise with its next answer or after {@link MAX_DELAY_MS}. Consecutive posts to one channel share one PUBLISH, so the busier
 * Redis is, the more posts share one. While the link is down they wait, within limits of time and bytes. A post is sent at most once.
 */
export class RedisPublisher {
  // Batches that are not sent yet, in order.
  private waiting: PublishBatch[] = [];
  // The last of them, if it takes more posts. There is not one for each channel: such a batch would overtake posts to other channels, which
  // would surprise listeners of both.
  private filling: PublishBatch | undefined = undefined;
  // Those of `filling` after the first one. A post alone, as most are if few are made, needs no list.
  private more: string[] = [];
  // How many bytes a character of the last batch had. The bytes of a batch are counted when it takes no more posts, and estimated until
  // then: to count them for each post would take a tenth of its time.
  private bytesPerCharacter = 1;
  private unflushedBytes = 0;
  private readonly unsettled = new UnsettledPosts<PublishBatch>();
  // Those that were sent and not answered, and that nobody waits for any more.
  private readonly overdue = new Set<PublishBatch>();
  private readonly abandoned: AbandonedPosts;
  // The bytes that were sent and not answered.
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
  // Stays until Redis accepts a post again, even over a new link, since a link that is up proves nothing about posts.
  readonly problem: PostProblem;

  /**
   * @param timeoutMs - how long a post may take
   * @param nameStart - where the name of a channel begins in the channels that are published on
   */
  constructor(
    private readonly timeoutMs: number,
    listener: PublisherListener,
    private readonly pending = new PendingBytes(),
    nameStart = 0,
  ) {
    this.problem = new PostProblem(listener);
    this.abandoned = new AbandonedPosts(nameStart, () => this.flush(), pending.recalls);
  }

  /**
   * Sets the link to publish over. Call it once.
   *
   * @param gate - in front of the link, if the link has none itself
   */
  attach(link: PublishLink, gate?: OutboundGate): void {
    this.link = link;
    this.gate = gate;
  }

  /**
   * Never rejects.
   *
   * @param isAlone - whether it shares no PUBLISH: its readers do not know batches, or it contains a line break
   * @returns whether Redis accepted the payload in time
   */
  publish(channel: string, payload: string, isAlone = false): Promise<boolean> {
    const bytes = Math.ceil(payload.length * this.bytesPerCharacter);
    if (this.isClosed || this.pending.current + bytes > MAX_PENDING_BYTES) return Promise.resolve(false);
    this.pending.current += bytes;
    let batch = this.filling;
    if (batch === undefined || isAlone || batch.channel !== channel) {
      this.seal();
      this.filling = batch = this.createBatch(channel, payload, bytes);
    } else {
      this.more.push(payload);
      batch.bytes += bytes;
    }
    this.unflushedBytes += bytes;
    const count = this.more.length + 1;
    if (isAlone) this.seal();
    if (this.unflushedBytes >= MAX_BATCH_BYTES || count >= MAX_BATCH_PAYLOADS) this.flush();
    else this.flushLater();
    return batch.accepted;
  }

  /** The link is up, or its gate is open: sends waiting posts. */
  up(): void {
    this.flush();
  }

  /**
   * Makes posts wait although the link is up, until {@link release}, or until the longest time that a post may take. Posts that waited for
   * the link are not sent before that.
   */
  hold(): void {
    this.holding ??= setTimeout(() => this.release(), this.timeoutMs).unref();
  }

  /** Sends the posts that wait since {@link hold}. */
  release(): void {
    if (this.holding === undefined) return;
    clearTimeout(this.holding);
    this.holding = undefined;
    this.flush();
  }

  /** The link is down: unanswered posts never will be answered, and are not sent again. They are recalled when it is back. */
  down(): void {
    this.session++;
    for (const { channel, text } of this.overdue) this.abandoned.add(channel, text);
    this.overdue.clear();
    clearTimeout(this.holding);
    this.holding = undefined;
    this.unanswered = 0;
    this.pending.current -= this.sentBytes;
    this.sentBytes = 0;
    for (const batch of this.unsettled) {
      if (!batch.isSent || batch.resolve === undefined) continue;
      this.abandoned.add(batch.channel, batch.text);
      this.settle(batch, false);
    }
    this.abandoned.again();
    this.unsettled.tidy();
  }

  /** Sends waiting posts if possible, without waiting for answers. */
  close(): void {
    this.flush();
    this.isClosed = true;
    clearTimeout(this.timer);
    clearTimeout(this.holding);
    this.abandoned.close();
    for (const batch of this.unsettled) this.settle(batch, false);
    for (const batch of this.waiting) this.pending.current -= batch.bytes;
    this.waiting = [];
    this.unsettled.tidy();
  }

  /** Whether something was sent and is unanswered. */
  get isWaitingForAnswers(): boolean {
    return this.unanswered > 0;
  }

  /** The outcomes of all posts that are not settled yet. */
  get outcomes(): Promise<boolean>[] {
    return Array.from(this.unsettled, ({ accepted }) => accepted);
  }

  private get canSend(): boolean {
    return this.link?.isUp === true && this.holding === undefined && this.gate?.isOpen !== false;
  }

  private createBatch(channel: string, payload: string, bytes: number): PublishBatch {
    const deadline = performance.now() + this.timeoutMs;
    const batch = new PublishBatch(++this.batches, channel, payload, bytes, deadline);
    this.waiting.push(batch);
    this.unsettled.add(batch);
    this.timer ??= setTimeout(this.expire, this.timeoutMs);
    return batch;
  }

  /** The batch that is being filled takes no more posts. */
  private seal(): void {
    const batch = this.filling;
    if (batch === undefined) return;
    this.filling = undefined;
    if (this.more.length > 0) {
      batch.text = joinPayloads(batch.text, this.more);
      this.more = [];
    }
    const bytes = Buffer.byteLength(batch.text);
    this.pending.current += bytes - batch.bytes;
    batch.bytes = bytes;
    this.bytesPerCharacter = bytes / batch.text.length || 1;
  }

  private flushLater(): void {
    if (this.unanswered > 0 && this.canSend) {
      this.delay ??= setTimeout(this.flush, MAX_DELAY_MS).unref();
    } else if (!this.isTurnEnding) {
      this.isTurnEnding = true;
      void NOW.then(this.endTurn);
    }
  }

  private readonly endTurn = (): void => {
    this.isTurnEnding = false;
    this.flush();
  };

  private readonly flush = (): void => {
    if (this.delay !== undefined) clearTimeout(this.delay);
    this.delay = undefined;
    // Also while the link is down: posts of another turn have another deadline.
    this.seal();
    this.unflushedBytes = 0;
    if (!this.canSend) return;
    const { waiting } = this;
    // What a lost connection may still bring to Redis must not come behind later posts.
    if (!this.abandoned.isEmpty) this.recall();
    if (waiting.length === 1) return this.send(waiting.pop()!);
    if (waiting.length === 0) return;
    this.waiting = [];
    this.link!.gather?.();
    for (const batch of waiting) this.send(batch);
  };

  private recall(): void {
    const recalls = this.abandoned.take();
    if (recalls.length > 0) this.link!.gather?.();
    for (const [channel, text] of recalls) {
      const batch = new PublishBatch(0, channel, text, text.length, 0);
      // Nobody waits for it.
      batch.resolve = undefined;
      this.pending.current += batch.bytes;
      this.send(batch);
    }
  }

  private send(batch: PublishBatch): void {
    const { session } = this;
    batch.isSent = true;
    batch.acceptedBefore = this.problem.accepts;
    this.sentBytes += batch.bytes;
    this.unanswered++;
    this.link!.publishing.publish(batch.channel, batch.text).then(
      () => this.answered(batch, session, undefined),
      (error: Error) => this.answered(batch, session, error),
    );
  }

  private answered(batch: PublishBatch, session: number, error: Error | undefined): void {
    // Belongs to an earlier link, so it was already counted.
    if (session !== this.session) return;
    this.unanswered--;
    this.sentBytes -= batch.bytes;
    if (this.overdue.size > 0) this.overdue.delete(batch);
    const isUnsent = error !== undefined && this.link!.isUnsent(error);
    // The link may have ended at one member of a Cluster alone.
    if (error !== undefined && !isUnsent && !isReply(error)) this.abandoned.add(batch.channel, batch.text);
    if (isUnsent && batch.resolve !== undefined) {
      this.takeBack(batch);
    } else {
      if (error !== undefined) this.refused(batch, error);
      else this.problem.accepted(batch.channel, batch.resolve !== undefined);
      this.pending.current -= batch.bytes;
      this.settle(batch, error === undefined);
      this.unsettled.tidy();
      if (this.unanswered === 0 && this.waiting.length > 0) this.flush();
    }
    if (this.unanswered === 0) this.link!.idle?.();
  }

  private refused({ channel, resolve }: PublishBatch, error: Error): void {
    // An error that is not an answer concerns the link.
    if (resolve === undefined || !isReply(error)) return;
    this.problem.refused(channel, error);
  }

  /** Puts a batch back in its place among the waiting ones. */
  private takeBack(batch: PublishBatch): void {
    batch.isSent = false;
    const later = this.waiting.findIndex(({ number }) => number > batch.number);
    this.waiting.splice(later < 0 ? this.waiting.length : later, 0, batch);
  }

  private settle(batch: PublishBatch, accepted: boolean): void {
    const { resolve } = batch;
    batch.resolve = undefined;
    resolve?.(accepted);
  }

  private readonly expire = (): void => {
    const now = performance.now();
    // Of the latest unanswered batch.
    let acceptedBefore: number | undefined;
    for (const batch of this.unsettled) {
      if (batch.deadline > now) break;
      if (batch.resolve === undefined) continue;
      if (batch.isSent) {
        ({ acceptedBefore } = batch);
        this.overdue.add(batch);
      } else this.pending.current -= batch.bytes;
      this.settle(batch, false);
    }
    this.unsettled.tidy();
    this.waiting = this.waiting.filter((batch) => batch.resolve !== undefined);
    const next = this.unsettled.oldest;
    this.timer = next && setTimeout(this.expire, next.deadline - now);
    if (acceptedBefore === undefined || !this.link?.isUp) return;
    this.problem.unanswered(acceptedBefore);
    this.link.overdue();
  };
}
