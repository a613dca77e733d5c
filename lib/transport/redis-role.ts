import { TransportUnavailableError } from '../protocol/errors.js';
import { isReply, type RedisClient } from './redis-client.js';

/** The Redis at the other end is a replica: it accepts what is posted and passes it on to nobody at the master. */
export class ReplicaError extends TransportUnavailableError {
  constructor(address: string, master: string) {
    const text = `${address} is a replica of ${master}: posts there do not reach the servers at the master`;
    super(text, { cause: Object.assign(new Error('ROLE: slave'), { name: 'ReplyError' }) });
  }
}

/**
 * Asks a Redis whether it is a master. What does not tell (an ACL without ROLE, a proxy that does not know it, a
 * connection with subscriptions by the older protocol) is asked for a sign of life only.
 */
export class RedisRole {
  private isForbidden: boolean;

  /** @param isMember - whether the client is connected to a member of a Cluster */
  constructor(
    private readonly client: RedisClient,
    private readonly address: string,
    isMember: boolean,
  ) {
    // Each member of a Cluster, also a replica, passes posts on to all others, and gets theirs.
    this.isForbidden = client.isCluster || isMember;
  }

  /** Whether the connection, as it is now, can ask for the role. */
  get canAsk(): boolean {
    const { condition } = this.client as { condition?: { subscriber?: unknown; protocol?: number } | null };
    return !this.isForbidden && (!condition?.subscriber || condition.protocol === 3);
  }

  /**
   * Resolves when Redis has answered and has not said that it is a replica.
   *
   * @throws (rejects) ReplicaError, and what the connection fails with
   */
  async check(): Promise<void> {
    if (this.canAsk) {
      try {
        const answer = await this.client.call('ROLE');
        const [role, host, port] = Array.isArray(answer) ? (answer as unknown[]) : [];
        if (role === 'slave') throw new ReplicaError(this.address, `${String(host)}:${String(port)}`);
        return;
      } catch (error) {
        if (!isReply(error as Error) || !/^(NOPERM|ERR unknown command)/i.test((error as Error).message)) throw error;
        this.isForbidden = true;
      }
    }
    await this.client.ping();
  }
}
