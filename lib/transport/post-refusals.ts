import { TransportUnavailableError } from '../protocol/errors.js';
import type { PublisherListener } from './post-problem.js';
import { replyText } from './redis-client.js';

/** Why Redis accepts no posts, plain ones and those to histories. It stays until they are accepted, even if links change. */
export class PostRefusals {
  private posts: Error | undefined = undefined;
  private appends: Error | undefined = undefined;

  /** For the transport's publisher. */
  readonly ofPosts = this.listener('posts', 'refuses PUBLISH');

  /** For the transport's histories. */
  readonly ofAppends = this.listener('appends', 'refuses to append to histories');

  /**
   * @param timeoutMs - how long a post may take
   * @param address - of Redis, for the texts
   * @param changed - the error may be another one
   * @param accepted - posts are accepted again, after which the same error is news
   */
  constructor(
    private readonly timeoutMs: number,
    private readonly address: () => string,
    private readonly changed: () => void,
    private readonly accepted: () => void,
  ) {}

  get error(): Error | undefined {
    return this.posts ?? this.appends;
  }

  private listener(what: 'posts' | 'appends', refuses: string): PublisherListener {
    const refuse = (why: string, cause?: Error): void => {
      this[what] = new TransportUnavailableError(`${this.address()} ${why}`, { cause });
      this.changed();
    };
    return {
      refused: (error) => refuse(`${refuses}: ${replyText(error)}`, error),
      unanswered: () =>
        refuse(`has left posts unanswered for ${this.timeoutMs} ms and has accepted none in time since`),
      answered: () => {
        this[what] = undefined;
        this.accepted();
      },
    };
  }
}
