import { setLast } from '../core/keep-last.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { ConnectionOrder } from './connection-order.js';

/** How many users are remembered. */
const MAX_USERS = 10_000;

interface EarlyOrder {
  readonly order: ConnectionOrder;
  /** How many revocations and orders this node knew by then, including this one. */
  readonly count: number;
}

/**
 * The last disconnection of each user. It also applies to streams whose requests came earlier, although their user was not known yet.
 */
export class EarlyOrders {
  private readonly byUser = new Map<string, EarlyOrder>();

  note(userId: string | number, order: ConnectionOrder, count: number): void {
    setLast(this.byUser, String(userId), { order, count }, MAX_USERS);
  }

  /** @param since - how many revocations and orders were known when the request came */
  of(auth: AuthenticationInfo | null, since: number): ConnectionOrder[] {
    const early = auth === null ? undefined : this.byUser.get(String(auth.userId));
    return early !== undefined && since < early.count ? [early.order] : [];
  }
}
