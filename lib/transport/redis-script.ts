import { createHash } from 'node:crypto';
import type { RedisClient } from './redis-client.js';

/** A script that Redis is asked for by its name, and gets the text of if it does not know it. */
export class RedisScript {
  private readonly sha: string;

  constructor(private readonly text: string) {
    this.sha = createHash('sha1').update(text).digest('hex');
  }

  /** Runs it, also at a Redis that does not know it yet, which knows it afterwards. */
  teach(client: RedisClient, args: readonly string[]): Promise<unknown> {
    return client.call('EVAL', this.text, '0', ...args);
  }

  /** Runs it without keys at a Redis that was taught it: several that are under way stay in order, also if they fail. */
  runTaught(client: RedisClient, ...args: string[]): Promise<unknown> {
    return client.call('EVALSHA', this.sha, '0', ...args);
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
