import { isDenial } from './redis-client.js';

/** Learns of posts that Redis does not accept although the link is up. */
export interface PublisherListener {
  /** Redis answered with an error. */
  refused(error: Error): void;
  /** Redis did not answer in time. */
  unanswered(): void;
  /** Redis accepted a post again after {@link refused}, or accepted one in time after {@link unanswered}. */
  answered(): void;
}

/** The current reason why Redis does not accept posts, until it accepts one again. */
export class PostProblem {
  private current: { readonly isUnanswered: boolean; readonly channel?: string | undefined } | undefined = undefined;
  // A count takes less than a time, which each post would read twice.
  private acceptedCount = 0;
  // That of the other kind of posts to the same Redis.
  private other: PostProblem | undefined = undefined;

  constructor(private readonly listener: PublisherListener) {}

  /** Plain posts and those to histories go to one Redis: it answers both kinds, or neither. */
  join(other: PostProblem): void {
    this.other = other;
    other.other = this;
  }

  /** How many posts, of this kind and of those that it was joined with, Redis has accepted in time. */
  get accepts(): number {
    return this.acceptedCount;
  }

  /** Redis has answered with an error. */
  refused(channel: string, error: Error): void {
    // An ACL may deny one channel, or its keys, independently of the others.
    const isOfChannel = isDenial(error) && /\b(channel|key)s?\b/.test(error.message);
    this.current = { isUnanswered: false, channel: isOfChannel ? channel : undefined };
    this.listener.refused(error);
  }

  /**
   * Redis has not answered in time; reported once until it does.
   *
   * @param acceptedBefore - {@link accepts} when the post was sent. If Redis has accepted one in time since then, it is no news: Redis
   *   answers, but slowly
   */
  unanswered(acceptedBefore: number): void {
    if (this.current?.isUnanswered === true || this.acceptedCount > acceptedBefore) return;
    this.current = { isUnanswered: true };
    this.listener.unanswered();
  }

  /**
   * Redis has accepted a post.
   *
   * @param isInTime - whether somebody still waited for it
   */
  accepted(channel: string, isInTime: boolean): void {
    if (isInTime) {
      this.heard();
      this.other?.heard();
    }
    const { current } = this;
    if (current === undefined || current.isUnanswered) return;
    if (current.channel === undefined || current.channel === channel) this.solved();
  }

  private heard(): void {
    this.acceptedCount++;
    if (this.current?.isUnanswered === true) this.solved();
  }

  private solved(): void {
    this.current = undefined;
    this.listener.answered();
  }
}
