import { createHash } from 'node:crypto';
import type { RedisClient } from './redis-client.js';

/** A script that is called by its hash. Redis gets the text if it does not know the script. */
export class RedisScript {
  private readonly sha: string;

  constructor(private readonly text: string) {
    this.sha = createHash('sha1').update(text).digest('hex');
  }

  /** Runs it at a Redis that may not know it yet. Afterwards it does. */
  teach(client: RedisClient, args: readonly string[]): Promise<unknown> {
    return client.call('EVAL', this.text, '0', ...args);
  }

  /** Runs it without keys at a Redis that knows it. Concurrent calls stay in order, even if they fail. */
  runTaught(client: RedisClient, ...args: string[]): Promise<unknown> {
    return client.call('EVALSHA', this.sha, '0', ...args);
  }

  /**
   * Runs it. For a Cluster, at the master of the keys.
   *
   * @param taught - Redis did not know it yet, has run nothing, and is sent the text
   * @throws (rejects) errors of Redis and of the link
   */
  run(client: RedisClient, keys: readonly string[], args: readonly string[], taught?: () => void): Promise<unknown> {
    const number = String(keys.length);
    return client.call('EVALSHA', this.sha, number, ...keys, ...args).catch((error: Error) => {
      if (!error.message.startsWith('NOSCRIPT')) throw error;
      taught?.();
      return client.call('EVAL', this.text, number, ...keys, ...args);
    });
  }
}
