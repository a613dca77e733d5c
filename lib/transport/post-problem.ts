import { isDenial } from './redis-client.js';

/** Learns of posts that Redis does not accept although the link is up. */
export interface PublisherListener {
  /** Redis answered with an error. */
  refused(error: Error): void;
  /** Redis did not answer in time. */
  unanswered(): void;
  /** Redis accepted a post again after {@link refused} or {@link unanswered}. */
  answered(): void;
}

/** The current reason why Redis does not accept posts, until it accepts one again. */
export class PostProblem {
  private current: { readonly isUnanswered: boolean; readonly channel?: string | undefined } | undefined = undefined;

  constructor(private readonly listener: PublisherListener) {}

  /** Redis has answered with an error. */
  refused(channel: string, error: Error): void {
    // An ACL may deny one channel, or its keys, independently of the others.
    const isOfChannel = isDenial(error) && /\b(channel|key)s?\b/.test(error.message);
    this.current = { isUnanswered: false, channel: isOfChannel ? channel : undefined };
    this.listener.refused(error);
  }

  /** Redis has not answered in time; reported once until it answers. */
  unanswered(): void {
    if (this.current?.isUnanswered === true) return;
    this.current = { isUnanswered: true };
    this.listener.unanswered();
  }

  /** Redis has accepted a post. */
  accepted(channel: string): void {
    const { current } = this;
    if (current === undefined || (current.channel !== undefined && current.channel !== channel)) return;
    this.current = undefined;
    this.listener.answered();
  }
}
