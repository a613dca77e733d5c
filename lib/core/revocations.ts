import { isRevocation, toRevocation, type Revocation } from '../protocol/authentication.js';
import { reservedChannel, type Channel } from '../protocol/channel.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { Hub } from './hub.js';

/** Ends sessions whose authentication is withdrawn, on this node at once and on every other by a message. */
export class Revocations {
  private readonly channel = reservedChannel<Revocation>('revocations') as Channel<Revocation>;

  constructor(private readonly hub: Hub) {
    hub.listen(
      this.channel,
      (revocation: Revocation, { origin }) => {
        // Those of this node have taken effect already.
        if (origin === 'global') this.apply(revocation);
      },
      hub.root,
      'revocations',
    );
  }

  /**
   * @returns whether the other nodes were told; the sessions of this one have ended in any case
   * @throws ConfigurationError for arguments that name nobody
   */
  revoke(userId: string | number, what: unknown): Promise<boolean> {
    const revocation = toRevocation(userId, what);
    // Not by the post: one that is made while a message is being delivered may have to wait.
    this.hub.sessions.revoke(revocation);
    return this.hub.post(this.channel, revocation, { scope: 'auto' });
  }

  private apply(revocation: unknown): void {
    if (!isRevocation(revocation)) throw new InvalidMessageError('what arrived is no revocation');
    this.hub.sessions.revoke(revocation);
  }
}
