import { declaredHistories } from '../protocol/declared-channels.js';
import type { RedisHistory } from './redis-history.js';

/**
 * Checks whether Redis can keep histories, if a channel is declared with one: a problem should appear at the start, not at the first post.
 * It repeats the check until it succeeds, at each reconnection.
 */
export class RedisHistoryCheck {
  /** Whether the answer is still missing. */
  isAsking = false;
  /** Why Redis cannot keep histories. */
  error: Error | undefined = undefined;
  private isDone = false;

  /** @param answered - called when there is an answer */
  constructor(
    private readonly history: RedisHistory,
    private readonly answered: () => void,
  ) {}

  /** Call it when the link is up. */
  async look(): Promise<void> {
    if (!declaredHistories() || this.isAsking || (this.isDone && this.error === undefined)) return;
    this.isAsking = true;
    this.error = await this.history.check();
    this.isDone = true;
    this.isAsking = false;
    this.answered();
  }
}
