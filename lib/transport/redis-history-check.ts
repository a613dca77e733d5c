import { declaredHistories } from '../protocol/declared-channels.js';
import type { RedisHistory } from './redis-history.js';

/**
 * Whether Redis can keep histories, if a channel is declared with one: one that cannot is to be seen at the start, not at the first
 * post. It is looked at until it can; when it comes back, it may.
 */
export class RedisHistoryCheck {
  /** Whether the answer is not there yet. */
  isAsking = false;
  /** Why it cannot. */
  error: Error | undefined = undefined;
  private isDone = false;

  /** @param answered - told when there is an answer */
  constructor(
    private readonly history: RedisHistory,
    private readonly answered: () => void,
  ) {}

  /** To be called when the link is up. */
  async look(): Promise<void> {
    if (!declaredHistories() || this.isAsking || (this.isDone && this.error === undefined)) return;
    this.isAsking = true;
    this.error = await this.history.check();
    this.isDone = true;
    this.isAsking = false;
    this.answered();
  }
}
