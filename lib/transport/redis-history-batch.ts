import type { AppendOutcome, HistoryBounds, HistoryPost } from '../core/history-store.js';
import { quote } from '../protocol/channel-name.js';
import { ConfigurationError, InvalidMessageError } from '../protocol/errors.js';
import { readText } from '../protocol/wire-reader.js';
import { LINE_BREAK, MAX_BATCH_BYTES, MAX_BATCH_PAYLOADS } from './payload-batch.js';
import { readOffset } from './redis-history-read.js';

/** A post on its way into a history. */
export interface PendingPost extends HistoryPost {
  readonly bounds: HistoryBounds;
  readonly bytes: number;
  readonly deadline: number;
  /** Its batch, once it has been sent or is about to be. */
  batch: HistoryBatch | undefined;
  /** Absent once it is settled. */
  resolve: ((outcome: AppendOutcome) => void) | undefined;
}

/** Posts of one channel that are appended in one step, by one or more tries. */
export class HistoryBatch {
  /** The number of the current try. Earlier tries no longer matter, except that they may have appended. */
  attempt = 0;
  /** Whether a try may have appended it without an answer. */
  isUnclear = false;
  /** Whether a try is under way. */
  isOut = false;
  /** When it was first tried. */
  triedMs = 0;
  /** How many posts Redis had accepted when it was tried first. */
  acceptedBefore = 0;
  /** Runs until its next try. */
  retry: NodeJS.Timeout | undefined = undefined;
  lastError: Error | undefined = undefined;

  /**
   * @param number - rises with each batch of this node
   * @param posts - at least one, all with the same bounds
   */
  constructor(
    readonly channel: string,
    readonly number: number,
    public posts: readonly PendingPost[],
  ) {
    for (const post of posts) post.batch = this;
  }

  /** @param accepted - how many posts Redis has accepted */
  triedFirst(accepted: number): void {
    this.triedMs = performance.now();
    this.acceptedBefore = accepted;
  }

  get bounds(): HistoryBounds {
    return this.posts[0]!.bounds;
  }

  /** Cancels its next try. */
  stopRetry(): void {
    clearTimeout(this.retry);
    this.retry = undefined;
  }

  /** Whether nobody waits for it any more. */
  get isSettled(): boolean {
    return this.posts.every(({ resolve }) => resolve === undefined);
  }

  /** Takes out the posts that were refused meanwhile. Call it before a try, if no earlier one may have appended. */
  dropSettled(): void {
    this.posts = this.posts.filter(({ resolve }) => resolve !== undefined);
  }

  /** The ids of its posts, if they have any, in their order. */
  get ids(): string[] {
    return this.posts.map(({ id }) => id).filter((id) => id !== undefined);
  }

  /** The last arguments of the append script. */
  get payloadArgs(): string[] {
    const { posts } = this;
    if (posts.every(({ id }) => id === undefined)) return [posts.map(({ payload }) => payload).join(LINE_BREAK)];
    return posts.flatMap(({ payload, id, digest = '' }) => [payload, id === undefined ? '' : `d${digest}`]);
  }
}

/**
 * When a post is given up, by `performance.now()`. Once Redis may have appended it, its answer gets as long as the post had before: on a
 * slow link it is late, not lost.
 */
export function endOf({ batch, deadline }: PendingPost, timeoutMs: number): number {
  return batch?.isUnclear === true ? batch.triedMs + timeoutMs : deadline;
}

/** Whether waiting posts fill a batch. */
export function isFull({ waiting, waitingBytes }: { waiting: readonly unknown[]; waitingBytes: number }): boolean {
  return waitingBytes >= MAX_BATCH_BYTES || waiting.length >= MAX_BATCH_PAYLOADS;
}

/** How many waiting posts go into the next batch: as many from the front as fit and may be combined. */
export function countForBatch(posts: readonly PendingPost[]): number {
  const { maxMessages, ttlMs } = posts[0]!.bounds;
  let bytes = 0;
  let count = 0;
  for (const post of posts) {
    if (post.bounds.maxMessages !== maxMessages || post.bounds.ttlMs !== ttlMs) break;
    // A payload with a line break would be split into two.
    const isAlone = post.payload.includes(LINE_BREAK);
    if (count > 0 && isAlone) break;
    bytes += post.bytes;
    count++;
    if (isAlone || bytes >= MAX_BATCH_BYTES || count === MAX_BATCH_PAYLOADS) break;
  }
  return count;
}

const ANSWER = /^ok ([\dA-Za-z]{1,40}) ([\dx,]+) (\d+) (\w+)(?: (.*))?$/s;

/** The answer of the append script. */
export interface AppendAnswer {
  /** One for each post of the batch. */
  readonly outcomes: readonly AppendOutcome[];
  /** Why the appended batch could not be published; empty: it was published. */
  readonly publishError: string;
  /** The master that answered, and when it was asked for, in the words of Redis. */
  readonly master: readonly [id: string, asked: string];
}

/** Whether the append script has appended nothing because another batch must come first. */
export function isEarly(answer: unknown): boolean {
  return answer === 'early';
}

/**
 * @returns `undefined` if the batch was not appended, because a later one of this node was
 * @throws InvalidMessageError for an invalid answer
 */
export function readAppendAnswer({ channel, posts }: HistoryBatch, answer: unknown): AppendAnswer | undefined {
  const path = `the answer to a post to ${quote(channel)}`;
  if (answer === 'stale') return undefined;
  const [, epoch, placesText, asked, master, publishError = ''] = ANSWER.exec(readText(answer, path, Infinity)) ?? [];
  if (epoch === undefined) throw new InvalidMessageError(`${path} has an unknown form`);
  const places = placesText!.split(',');
  if (places.length !== 1 && places.length !== posts.length) {
    throw new InvalidMessageError(`${path} has ${places.length} places, not ${posts.length}`);
  }
  const first = places.length === 1 && posts.length > 1 ? readOffset(places[0], path) : undefined;
  const outcomes = posts.map((post, index): AppendOutcome => {
    if (first !== undefined) return { kind: 'appended', position: { epoch, offset: first + index } };
    const place = places[index];
    if (place === 'x') return { kind: 'refused', error: usedTwice(channel, post.id!) };
    return { kind: 'appended', position: { epoch, offset: readOffset(place, path) } };
  });
  return { outcomes, publishError, master: [master!, asked!] };
}

function usedTwice(channel: string, id: string): ConfigurationError {
  return new ConfigurationError(
    `Channel ${quote(channel)}: the post with the id ${quote(id)} is in the history already, with another message; give each post an id of its own`,
  );
}
