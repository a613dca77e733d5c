import { HttpException, HttpStatus, ServiceUnavailableException } from '@nestjs/common';
import type { AuthenticationInfo } from '../../protocol/authentication.js';
import type { Limits } from '../../protocol/limits.js';

/** Counts the places for client connections: of those that are open, and of those that are still being decided about. */
export class ConnectionSlots {
  private taken = 0;
  private readonly byUser = new Map<string, number>();

  constructor(private readonly limits: Pick<Limits, 'maxConnections' | 'maxConnectionsPerUser'>) {}

  /**
   * Takes a place.
   *
   * @returns gives it back; to be called once
   * @throws ServiceUnavailableException where this server holds as many connections as it may
   * @throws HttpException (429) where it does so for this user
   */
  take(auth: AuthenticationInfo | null): () => void {
    const { maxConnections, maxConnectionsPerUser } = this.limits;
    if (this.taken >= maxConnections) {
      throw new ServiceUnavailableException(`This server holds ${maxConnections} connections (limits.maxConnections)`);
    }
    const user = auth === null ? undefined : String(auth.userId);
    if (user !== undefined && (this.byUser.get(user) ?? 0) >= maxConnectionsPerUser) {
      throw new HttpException(
        `This user has ${maxConnectionsPerUser} connections (limits.maxConnectionsPerUser)`,
        HttpStatus.TOO_MANY_REQUESTS,
      );
    }
    this.count(user, 1);
    return () => this.count(user, -1);
  }

  private count(user: string | undefined, change: 1 | -1): void {
    this.taken += change;
    if (user === undefined) return;
    const count = (this.byUser.get(user) ?? 0) + change;
    if (count === 0) this.byUser.delete(user);
    else this.byUser.set(user, count);
  }
}
