import { createHash } from 'node:crypto';
import { socketOf, type RedisClient } from './redis-client.js';

/** A script that is called by its hash. Redis gets the text if it does not know the script. */
export class RedisScript {
  private readonly sha: string;
  /** The connections over which the text is on its way. A client makes a new one when it breaks, and then settles nothing of the old one. */
  private readonly teaching = new WeakSet<object>();

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
   * @param taught - Redis did not know it yet and has run nothing; it is called again
   * @throws (rejects) errors of Redis and of the link
   */
  run(client: RedisClient, keys: readonly string[], args: readonly string[], taught?: () => void): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    const runKnown = (): Promise<unknown> => client.call('EVALSHA', this.sha, ...rest);
    const runText = (): Promise<unknown> => client.call('EVAL', this.text, ...rest);
    const unknown = (error: Error): Promise<unknown> => {
      if (!error.message.startsWith('NOSCRIPT')) throw error;
      taught?.();
      // Each master of a Cluster has to get the text.
      const connection = client.isCluster ? undefined : socketOf(client);
      if (connection === undefined) return runText();
      // The text is before this call on the same connection. Thousands of calls that were under way need not send it too.
      if (this.teaching.has(connection)) return runKnown().catch(unknown);
      this.teaching.add(connection);
      return runText().finally(() => this.teaching.delete(connection));
    };
    return runKnown().catch(unknown);
  }
}
