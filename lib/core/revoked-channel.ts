import { createHash } from 'node:crypto';
import type { RevokedAuthentication } from '../protocol/authentication.js';
import { reservedChannel, type Channel } from '../protocol/channel.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { identity } from '../protocol/identity.js';

/** Ids that appear unchanged in the name of their channel. */
const PLAIN = /^[\w.@-]{1,100}$/;

/**
 * The channel on which each server tells of revocations of a user's sign-ins, when it applies them and before it ends their
 * sessions. The message is what was withdrawn: a `RevokedAuthenticationUser`, `RevokedAuthenticationAuthId` or
 * `RevokedAuthenticationScope`. Revocations from before the server started are not told.
 *
 * @throws ConfigurationError for what is no user's id
 * @example
 * ```ts
 * messages.addListener(revokedAuthenticationChannel('ada'), (revoked) => console.log('signed out:', revoked));
 * ```
 */
export function revokedAuthenticationChannel(userId: string | number): Channel<RevokedAuthentication> {
  if (identity(userId) === undefined) {
    throw new ConfigurationError(
      `revokedAuthenticationChannel: userId must be ${identity.expected}, not ${describe(userId)}`,
    );
  }
  const text = String(userId);
  const name = PLAIN.test(text) ? text : `~${createHash('sha256').update(text).digest('base64url')}`;
  return reservedChannel<RevokedAuthentication>(`revoked/${name}`, undefined, {
    isLocal: true,
  }) as Channel<RevokedAuthentication>;
}
