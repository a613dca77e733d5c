import { TransportUnavailableError } from '../protocol/errors.js';
import { isReply, type RedisClient } from './redis-client.js';

/** The Redis at the other end is a replica: it accepts posts, but the master never gets them. */
export class ReplicaError extends TransportUnavailableError {
  constructor(address: string, master: string) {
    const text = `${address} is a replica of ${master}: posts there do not reach the servers at the master`;
    super(text, { cause: Object.assign(new Error('ROLE: slave'), { name: 'ReplyError' }) });
  }
}

/**
 * Asks a Redis whether it is a master. If it cannot tell (an ACL without ROLE, a proxy without this command, a connection with
 * subscriptions in the older protocol), it is only asked whether it is alive.
 */
export class RedisRole {
  private isForbidden: boolean;

  /** @param isMember - whether the client is connected to a member of a Cluster */
  constructor(
    private readonly client: RedisClient,
    private readonly address: string,
    isMember: boolean,
  ) {
    // Each member of a Cluster, even a replica, forwards posts to all others, and receives theirs.
    this.isForbidden = client.isCluster || isMember;
  }

  /** Whether the connection can ask for the role at the moment. */
  get canAsk(): boolean {
    const { condition } = this.client as { condition?: { subscriber?: unknown; protocol?: number } | null };
    return !this.isForbidden && (!condition?.subscriber || condition.protocol === 3);
  }

  /**
   * Resolves when Redis has answered and has not reported that it is a replica.
   *
   * @throws (rejects) ReplicaError, and errors of the connection
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
