import { publishingNode } from './redis-client.js';
import type { RedisLink } from './redis-link.js';

/** How much may wait for Redis, in bytes of payload; what comes on top is not accepted. */
export const MAX_PENDING_BYTES = 16 * 1024 * 1024;

interface Post {
  readonly channel: string;
  readonly payload: string;
  readonly bytes: number;
  readonly deadline: number;
  /** Absent once the post is settled. */
  resolve: ((accepted: boolean) => void) | undefined;
  isSent: boolean;
}

/**
 * Publishes in order over a link that comes and goes: at once while it is up; else the post waits, within
 * bounds of time and bytes. A post is sent at most once.
 */
export class RedisPublisher {
  // Posts that were not sent yet and may still be, in order.
  private waiting: Post[] = [];
  // From `first` on all that are unsettled, in the order of posting, which is that of their deadlines.
  private unsettled: Post[] = [];
  private first = 0;
  // Of what waits, and of what was sent and not answered, even where nobody waits for it any more: it
  // still fills the socket's buffer.
  private pendingBytes = 0;
  private session = 0;
  private timer: NodeJS.Timeout | undefined = undefined;
  private link: RedisLink | undefined = undefined;
  private isClosed = false;

  /**
   * @param timeoutMs - how long a post may take
   * @param refused - told of what Redis answers to a post that it does not accept
   */
  constructor(
    private readonly timeoutMs: number,
    private readonly refused: (error: Error) => void,
  ) {}

  /** Gives it the link to publish over; once. */
  attach(link: RedisLink): void {
    this.link = link;
  }

  /** Never rejects. @returns whether Redis accepted the payload in time */
  publish(channel: string, payload: string): Promise<boolean> {
    const bytes = Buffer.byteLength(payload);
    if (this.isClosed || this.pendingBytes + bytes > MAX_PENDING_BYTES) return Promise.resolve(false);
    return new Promise((resolve) => {
      const deadline = performance.now() + this.timeoutMs;
      const post: Post = { channel, payload, bytes, deadline, resolve, isSent: false };
      this.pendingBytes += bytes;
      this.unsettled.push(post);
      this.timer ??= setTimeout(this.expire, this.timeoutMs).unref();
      if (this.link?.isUp) this.send(post);
      else this.waiting.push(post);
    });
  }

  /** The link is up: sends what has waited. */
  up(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const post of waiting) this.send(post);
  }

  /** The link is down: what was sent and not answered never will be, and is not sent again. */
  down(): void {
    this.session++;
    this.pendingBytes = this.waiting.reduce((bytes, post) => bytes + post.bytes, 0);
    for (let index = this.first; index < this.unsettled.length; index++) {
      const post = this.unsettled[index]!;
      if (post.isSent) this.settle(post, false);
    }
    this.tidy();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    for (let index = this.first; index < this.unsettled.length; index++) this.settle(this.unsettled[index]!, false);
    this.waiting = [];
    this.tidy();
  }

  private send(post: Post): void {
    const { session } = this;
    post.isSent = true;
    const answered = (error: Error | undefined): void => {
      // Of a link that is gone: counted already.
      if (session !== this.session) return;
      if (error?.message.startsWith("Stream isn't writeable") && post.resolve !== undefined) {
        // The link has ended, which we are about to be told; nothing was sent.
        post.isSent = false;
        this.waiting.push(post);
        return;
      }
      if (error !== undefined && post.resolve !== undefined) this.refused(error);
      this.pendingBytes -= post.bytes;
      this.settle(post, error === undefined);
      this.tidy();
    };
    publishingNode(this.link!.client)
      .publish(post.channel, post.payload)
      .then(() => answered(undefined), answered);
  }

  private settle(post: Post, accepted: boolean): void {
    const { resolve } = post;
    post.resolve = undefined;
    resolve?.(accepted);
  }

  /** Forgets what is settled at the head; answers come in the order of posting. */
  private tidy(): void {
    while (this.first < this.unsettled.length && this.unsettled[this.first]!.resolve === undefined) this.first++;
    // Half of it at a time, so that each post is moved only a few times.
    if (this.first * 2 < this.unsettled.length) return;
    this.unsettled = this.unsettled.slice(this.first);
    this.first = 0;
  }

  private readonly expire = (): void => {
    const now = performance.now();
    for (let index = this.first; index < this.unsettled.length; index++) {
      const post = this.unsettled[index]!;
      if (post.deadline > now) break;
      if (!post.isSent && post.resolve !== undefined) this.pendingBytes -= post.bytes;
      this.settle(post, false);
    }
    this.tidy();
    this.waiting = this.waiting.filter((post) => post.resolve !== undefined);
    const next = this.unsettled[this.first];
    this.timer = next && setTimeout(this.expire, next.deadline - now).unref();
  };
}
