import { createHash } from 'node:crypto';
import type { RedisClient } from './redis-client.js';

/** A script that Redis is asked for by its name, and gets the text of if it does not know it. */
export class RedisScript {
  private readonly sha: string;

  constructor(private readonly text: string) {
    this.sha = createHash('sha1').update(text).digest('hex');
  }

  /**
   * Runs it. Of a Cluster at the master of the keys.
   *
   * @throws (rejects) what Redis answers, and what the link fails with
   */
  async run(client: RedisClient, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    try {
      return await client.call('EVALSHA', this.sha, String(keys.length), ...keys, ...args);
    } catch (error) {
      if (!(error as Error).message.startsWith('NOSCRIPT')) throw error;
      return client.call('EVAL', this.text, String(keys.length), ...keys, ...args);
    }
  }
}
