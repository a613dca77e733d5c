import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { Limits } from '../protocol/limits.js';
import { Refusal } from './refusal.js';

/** Counts the places for client connections: of those that are open, and of those that are still being decided about. */
export class ConnectionSlots {
  private taken = 0;
  private readonly byUser = new Map<string, number>();

  constructor(private readonly limits: Pick<Limits, 'maxConnections' | 'maxConnectionsPerUser'>) {}

  /**
   * Takes a place.
   *
   * @returns gives it back; to be called once
   * @throws Refusal if this server holds as many connections as it may, in all or of this user
   */
  take(auth: AuthenticationInfo | null): () => void {
    const { maxConnections, maxConnectionsPerUser } = this.limits;
    if (this.taken >= maxConnections) {
      throw new Refusal('serverFull', `This server holds ${maxConnections} connections (limits.maxConnections)`);
    }
    const user = auth === null ? undefined : String(auth.userId);
    if (user !== undefined && (this.byUser.get(user) ?? 0) >= maxConnectionsPerUser) {
      throw new Refusal(
        'userFull',
        `This user has ${maxConnectionsPerUser} connections (limits.maxConnectionsPerUser)`,
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
