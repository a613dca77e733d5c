import type { AppendOutcome, HistoryBounds, HistoryPost } from '../core/history-store.js';
import { newEpoch } from '../core/random-number.js';
import {
  HistoryBatch,
  countForBatch,
  endOf,
  isEarly,
  isFull,
  readAppendAnswer,
  type AppendAnswer,
  type PendingPost,
} from './redis-history-batch.js';
import { APPEND_SCRIPT } from './redis-history-append-script.js';
import { PostProblem, type PublisherListener } from './post-problem.js';
import { codeOf, isPassing, refused, unclear } from './redis-history-failures.js';
import { dropSettled, newLane, type Lane } from './redis-history-lane.js';
import { isElsewhere, isReply, isUnsent, replyText } from './redis-client.js';
import type { OutboundGate } from './outbound-gate.js';
import type { RedisLink } from './redis-link.js';
import type { RedisNames } from './redis-names.js';
import { MAX_PENDING_BYTES } from './redis-publisher.js';
import { RedisScript } from './redis-script.js';
import { UnsettledPosts } from './unsettled-posts.js';

/** How long to wait before another try if Redis cannot append at the moment. In milliseconds. */
const RETRY_MS = 50;

/** When to repeat a try at a Cluster, which may have lost it with one of its members without notice. In milliseconds. */
const CLUSTER_PATIENCE_MS = 500;

/** How many batches of one channel may be under way. Only full ones are sent while others are. */
const MAX_UNDER_WAY = 8;

/** The minimum time between two looks for posts whose time is over. In milliseconds. */
const MIN_PAUSE_MS = 10;

const SCRIPT = new RedisScript(APPEND_SCRIPT);

const NO_MASTER: AppendAnswer['master'] = ['', ''];

/**
 * Appends posts to histories, each once, over a link that may break. Posts of one channel are appended in order: while a batch is under
 * way, new posts collect for the next one, which is sent at the latest when it is full. A post waits for `timeoutMs` until it is sent, and
 * then for as long again, since Redis may have appended it. A batch is tried until Redis answers or nobody waits any more, so for at most
 * `timeoutMs` after its first try. Redis recognises a batch that it has already appended by its number.
 */
export class RedisHistoryAppends {
  private readonly lanes = new Map<string, Lane>();
  private due: Lane[] = [];
  private readonly unsettled = new UnsettledPosts<PendingPost>();
  private pendingBytes = 0;
  private number = 0;
  // The master at the other end, by its last answer. Unknown for a Cluster, which has several.
  private master = NO_MASTER;
  private session = 0;
  private timer: NodeJS.Timeout | undefined = undefined;
  private link: RedisLink | undefined = undefined;
  private isClosed = false;
  readonly problem: PostProblem;

  /**
   * @param node - unique for each process: at most 12 digits and lower-case letters
   * @param timeoutMs - how long a post may wait until it is sent, and how long for the answer
   */
  constructor(
    private readonly names: RedisNames,
    private readonly node: string,
    private readonly timeoutMs: number,
    listener: PublisherListener,
    private readonly gate: OutboundGate,
  ) {
    this.problem = new PostProblem(listener);
  }

  /** Sets the link. Call it once. */
  attach(link: RedisLink): void {
    this.link = link;
  }

  /** See `HistoryStore.append`. */
  append(channel: string, { payload, id, digest }: HistoryPost, bounds: HistoryBounds): Promise<AppendOutcome> {
    const bytes = Buffer.byteLength(payload);
    if (this.isClosed) return Promise.resolve(refused('the application is closing'));
    if (this.pendingBytes + bytes > MAX_PENDING_BYTES) {
      return Promise.resolve(refused(`more than ${MAX_PENDING_BYTES / 1024 / 1024} MiB of posts wait for Redis`));
    }
    const deadline = performance.now() + this.timeoutMs;
    const post: PendingPost = { payload, id, digest, bounds, bytes, deadline, batch: undefined, resolve: undefined };
    const settled = new Promise<AppendOutcome>((resolve) => (post.resolve = resolve));
    this.pendingBytes += bytes;
    this.unsettled.add(post);
    this.timer ??= setTimeout(this.expire, this.timeoutMs);
    let lane = this.lanes.get(channel);
    if (lane === undefined) {
      lane = newLane(channel);
      this.lanes.set(channel, lane);
    }
    lane.waiting.push(post);
    lane.waitingBytes += bytes;
    if (lane.batches.length === 0 && !lane.isDue) this.sendSoon(lane);
    if (isFull(lane)) this.send(lane);
    return settled;
  }

  /** The link is up: sends waiting posts, and batches that were under way when it broke. */
  up(): void {
    for (const lane of this.lanes.values()) this.resume(lane);
  }

  /** The gate is open: sends the posts that waited for it. */
  opened(): void {
    if (this.link?.isUp === true) this.up();
  }

  /** The link is down: unanswered commands will not be answered. */
  down(): void {
    this.session++;
    this.master = NO_MASTER;
    for (const lane of this.lanes.values()) {
      for (const batch of lane.batches) {
        batch.isOut = false;
        batch.attempt++;
        batch.stopRetry();
      }
      dropSettled(lane);
    }
  }

  /** Sends waiting posts if possible, without waiting for answers. */
  close(): void {
    for (const lane of this.lanes.values()) this.send(lane);
    this.isClosed = true;
    clearTimeout(this.timer);
    for (const { batches } of this.lanes.values()) for (const batch of batches) batch.stopRetry();
    for (const post of [...this.unsettled]) this.giveUp(post);
    this.lanes.clear();
  }

  private sendSoon(lane: Lane): void {
    lane.isDue = true;
    if (this.due.push(lane) > 1) return;
    queueMicrotask(() => {
      const { due } = this;
      this.due = [];
      for (const each of due) {
        each.isDue = false;
        this.send(each, due.length);
      }
    });
  }

  /** @param due - at the end of a turn, how many channels got posts in it. The rest of these posts follows full batches of the same turn */
  private send(lane: Lane, due?: number): void {
    if (this.isClosed || !this.canSend(lane)) return;
    const { channel, waiting, batches } = lane;
    const most = this.link!.client.isCluster ? 1 : MAX_UNDER_WAY;
    while (waiting.length > 0 && batches.length < most) {
      if (batches.length > 0 && due === undefined && !isFull(lane)) return;
      // A full batch leaves at once: Redis appends it while others fill. One that is alone in its turn has nothing to wait for.
      if (due !== 1 && !isFull(lane)) this.link!.gather();
      const batch = new HistoryBatch(channel, ++this.number, waiting.splice(0, countForBatch(waiting)));
      for (const { bytes } of batch.posts) lane.waitingBytes -= bytes;
      batches.push(batch);
      this.try(lane, batch);
    }
    if (batches.length === 0) this.lanes.delete(channel);
  }

  private try(lane: Lane, batch: HistoryBatch): void {
    if (!batch.isUnclear) batch.dropSettled();
    const { channel, number, bounds } = batch;
    const { batches } = lane;
    const before = batches[batches.indexOf(batch) - 1];
    const attempt = ++batch.attempt;
    const begin = (): void => {
      if (batch.attempt === 1) batch.triedFirst(this.problem.accepts);
    };
    begin();
    const wasUnclear = batch.isUnclear;
    batch.isUnclear = batch.isOut = true;
    const names = this.names.history(channel);
    const keys = [
      names.state,
      names.stream,
      names.appender(this.node),
      names.changes,
      ...batch.ids.map((id) => names.post(id)),
    ];
    const args = [
      // A new epoch for each try: the epoch of an earlier try may have been lost with its Redis.
      newEpoch(),
      ...this.master,
      number,
      before === undefined ? '' : `${before.number} ${batches[0]!.number}`,
      bounds.maxMessages,
      bounds.ttlMs,
      this.names.historyRoute(channel),
      batch.posts.length,
      ...batch.payloadArgs,
    ].map(String);
    const { session } = this;
    const { client } = this.link!;
    if (client.isCluster) batch.retry = setTimeout(() => this.tryAgain(lane, batch), CLUSTER_PATIENCE_MS).unref();
    SCRIPT.run(client, keys, args, begin).then(
      (answer) => {
        // The answer to any try counts, unless it is that the batch came too early.
        if (!lane.batches.includes(batch)) return;
        if (!isEarly(answer)) return this.answered(lane, batch, answer, session);
        if (batch.attempt !== attempt) return;
        batch.isOut = false;
        batch.isUnclear = wasUnclear;
        this.giveUpLate(batch);
        batch.lastError ??= lane.batches[0]!.lastError;
        this.goOn(lane);
      },
      (error: Error) => {
        if (!lane.batches.includes(batch) || batch.attempt !== attempt) return;
        batch.isOut = false;
        batch.stopRetry();
        this.failed(lane, batch, error, wasUnclear);
      },
    );
  }

  private tryAgain(lane: Lane, batch: HistoryBatch): void {
    if (!lane.batches.includes(batch)) return;
    batch.stopRetry();
    // A settled one ends.
    if (batch.isSettled || this.canSend(lane)) batch.isOut = false;
    this.goOn(lane);
  }

  /** Tries the batches that are not under way, in order. Batches behind one that waits for its next try wait too. */
  private tryWaiting(lane: Lane): void {
    // Otherwise they are tried when the link is up and the gate open.
    if (!this.canSend(lane)) return;
    for (const batch of lane.batches) {
      if (batch.isOut) continue;
      if (batch.retry !== undefined) return;
      this.try(lane, batch);
    }
  }

  /** Posts may be sent again. */
  private resume(lane: Lane): void {
    const isAgain = this.link!.client.isCluster && this.canSend(lane);
    for (const batch of lane.batches) {
      // With a Cluster, another try of a batch under way may be due.
      if (batch.isOut && !isAgain) continue;
      batch.stopRetry();
      batch.isOut = false;
    }
    this.goOn(lane);
  }

  private canSend({ channel }: Lane): boolean {
    return this.link?.isUp === true && this.gate.lets(channel);
  }

  private answered(lane: Lane, batch: HistoryBatch, answer: unknown, session: number): void {
    const isInTime = !batch.isSettled;
    try {
      const read = readAppendAnswer(batch, answer);
      if (read !== undefined) {
        if (session === this.session && !this.link!.client.isCluster) this.master = read.master;
        batch.posts.forEach((post, index) => this.settle(post, read.outcomes[index]!));
        this.told(batch.channel, read.publishError, isInTime);
      }
    } catch (error) {
      batch.lastError = error as Error;
    }
    // An error costs more than the rest of a post.
    if (!batch.isSettled) {
      const why = batch.lastError?.message ?? 'Redis does not remember it';
      for (const post of batch.posts) this.settle(post, unclear(post, why));
    }
    this.end(lane, batch);
  }

  /** @param refusal - of the command that publishes; empty: it published */
  private told(channel: string, refusal: string, isInTime: boolean): void {
    // An error costs more than the rest of an answer.
    if (refusal === '') return this.problem.accepted(channel, isInTime);
    // While a slot moves, nobody is subscribed at the member that appended; readers detect the missing messages.
    if (isElsewhere(new Error(refusal))) this.problem.accepted(channel, isInTime);
    else this.problem.refused(channel, new Error(`${this.names.publishCommand}: ${refusal}`));
  }

  private failed(lane: Lane, batch: HistoryBatch, error: Error, wasUnclear: boolean): void {
    const isAnswer = isReply(error);
    if (isAnswer || isUnsent(error)) batch.isUnclear = wasUnclear;
    if (isAnswer) batch.lastError = error;
    if (!isAnswer || isPassing(error)) {
      if (codeOf(error) === 'READONLY') this.link!.checkRole();
      this.giveUpLate(batch);
      batch.retry = setTimeout(() => this.tryAgain(lane, batch), RETRY_MS).unref();
      return;
    }
    for (const post of batch.posts) this.giveUp(post);
    this.problem.refused(batch.channel, error);
    this.end(lane, batch);
  }

  /** The batch is no longer under way: its posts are settled. */
  private end(lane: Lane, batch: HistoryBatch): void {
    batch.isOut = false;
    this.goOn(lane);
  }

  /** Tries what can be tried, and sends what can be sent. */
  private goOn(lane: Lane): void {
    dropSettled(lane);
    this.tryWaiting(lane);
    this.send(lane);
  }

  /** Gives up the posts of a batch that Redis has not appended, and whose time to be sent is over. */
  private giveUpLate(batch: HistoryBatch): void {
    const now = performance.now();
    for (const post of batch.posts) if (endOf(post, this.timeoutMs) <= now) this.giveUp(post);
  }

  /** Settles a post that nobody waits for any more, with what is known. */
  private giveUp(post: PendingPost): void {
    const { batch } = post;
    if (batch?.isUnclear === true) {
      const until = this.isClosed ? 'before the application closed' : `within ${this.timeoutMs} ms`;
      return this.settle(post, unclear(post, `Redis has not answered ${until}`));
    }
    const cause = batch?.lastError;
    const why = (cause && replyText(cause)) ?? this.whyNotSent;
    this.settle(post, refused(why, cause));
  }

  private get whyNotSent(): string {
    if (this.isClosed) return 'the application is closing';
    const waited = `it was not sent within ${this.timeoutMs} ms, because`;
    if (this.link?.isUp !== true) return `${waited} Redis could not be reached`;
    return `${waited} ${this.gate.isOpen ? 'Redis had not answered earlier posts' : 'posts had to wait for revocations'}`;
  }

  private settle(post: PendingPost, outcome: AppendOutcome): void {
    const { resolve } = post;
    if (resolve === undefined) return;
    post.resolve = undefined;
    this.pendingBytes -= post.bytes;
    resolve(outcome);
    this.unsettled.tidy();
  }

  private readonly expire = (): void => {
    const now = performance.now();
    const late = new Set<HistoryBatch | undefined>();
    const over: PendingPost[] = [];
    let nextMs = Infinity;
    for (const post of this.unsettled) {
      if (post.resolve === undefined) continue;
      const isNext = post.deadline > now;
      const endMs = isNext ? post.deadline : endOf(post, this.timeoutMs);
      if (endMs <= now) over.push(post);
      else nextMs = Math.min(nextMs, endMs);
      // Later posts end later.
      if (isNext) break;
    }
    for (const post of over) {
      late.add(post.batch);
      this.giveUp(post);
    }
    for (const lane of this.lanes.values()) {
      lane.waiting = lane.waiting.filter(({ resolve }) => resolve !== undefined);
      lane.waitingBytes = lane.waiting.reduce((sum, { bytes }) => sum + bytes, 0);
      this.goOn(lane);
    }
    const { oldest } = this.unsettled;
    // On a slow link many posts wait for answers: they are not looked through for each of them.
    const pauseMs = (oldest?.deadline ?? Infinity) <= now ? MIN_PAUSE_MS : 0;
    this.timer = oldest && setTimeout(this.expire, Math.max(pauseMs, nextMs - now));
    for (const batch of late) {
      if (batch !== undefined && !batch.isUnclear && batch.lastError !== undefined)
        this.problem.refused(batch.channel, batch.lastError);
      else if (batch?.isOut === true && this.link!.isUp) this.problem.unanswered(batch.acceptedBefore);
    }
  };
}
