import { LimitReached } from '../core/limit-reached.js';
import { RateLimit } from '../core/rate-limit.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { Limits } from '../protocol/limits.js';
import { StreamPlaces } from './stream-places.js';

/** The limits of what is done in a second. */
type RateName = keyof Limits & `${string}PerSecond${string}`;

/** Where a client is, if that is known and says something: see `maxConnectionsPerAddress`. */
export type ClientAddress = string | undefined;

/** What clients may have, and how often they may ask for it. Costs nothing while messages flow. */
export class ClientLimits {
  readonly places: StreamPlaces;
  private readonly rates = new Map<RateName, RateLimit>();

  /** @param now - in milliseconds */
  constructor(
    readonly values: Limits,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.places = new StreamPlaces(values);
  }

  /** A stream is asked for. @throws LimitReached if too many are from there */
  openFrom(address: ClientAddress): void {
    this.take('maxOpensPerSecondPerAddress', address, 'streams were asked for from this address');
  }

  /** It is known who asks for a stream. @throws LimitReached if that user asks for too many */
  openBy(auth: AuthenticationInfo | null): void {
    this.take('maxOpensPerSecondPerUser', userOf(auth), 'streams were asked for by this user');
  }

  /** A change of a client connection is asked for. @throws LimitReached if too many are, of this one or from there */
  change(connection: string, address: ClientAddress): void {
    this.take('maxChangesPerSecondPerAddress', address, 'changes were asked for from this address');
    this.take('maxChangesPerSecondPerConnection', connection, 'changes of this connection were asked for');
  }

  /** What was missed is asked for, or the past. @throws LimitReached if that is too often for this user, or from there */
  recover(auth: AuthenticationInfo | null, address: ClientAddress): void {
    this.take('maxRecoveriesPerSecondPerAddress', address, 'recoveries were asked for from this address');
    this.take('maxRecoveriesPerSecondPerUser', userOf(auth), 'recoveries were asked for by this user');
  }

  private take(name: RateName, key: string | undefined, what: string): void {
    if (key === undefined) return;
    let rate = this.rates.get(name);
    if (rate === undefined) this.rates.set(name, (rate = new RateLimit(this.values[name], this.now)));
    const waitMs = rate.take(key);
    if (waitMs > 0) throw new LimitReached(`limits.${name}`, false, `Too many ${what}`, waitMs);
  }
}

function userOf(auth: AuthenticationInfo | null): string | undefined {
  return auth === null ? undefined : String(auth.userId);
}
