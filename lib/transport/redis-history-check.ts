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
  /** Whether the link has come up since the last question. */
  private isDue = false;

  /** @param answered - called when there is an answer */
  constructor(
    private readonly history: RedisHistory,
    private readonly answered: () => void,
  ) {}

  /** Call it when the link is up. */
  async look(): Promise<void> {
    if (!declaredHistories() || (this.isDone && this.error === undefined)) return;
    this.isDue = true;
    if (this.isAsking) return;
    this.isAsking = true;
    let lack: Error | 'unknown' | undefined = 'unknown';
    while (lack === 'unknown' && this.isDue) {
      this.isDue = false;
      lack = await this.history.findLack();
    }
    // A connection that ended before the answer has told nothing.
    this.isDone = lack !== 'unknown';
    this.error = lack === 'unknown' ? undefined : lack;
    this.isAsking = false;
    this.answered();
  }
}
