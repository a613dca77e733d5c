import { LimitReached } from '../core/limit-reached.js';
import { RateLimit } from '../core/rate-limit.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { MAX_CONNECTION_LENGTH } from '../protocol/gateway.js';
import type { Limits } from '../protocol/limits.js';
import { StreamPlaces } from './stream-places.js';

/** The limits per second. */
type RateName = keyof Limits & `${string}PerSecond${string}`;

/** The address of a client, if it is known and identifies the client: see `maxConnectionsPerAddress`. */
export type ClientAddress = string | undefined;

/** Limits what clients may have, and how often they may ask for it. It costs nothing while messages flow. */
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

  /** A client requests a stream. @throws LimitReached if there are too many requests from its address */
  openFrom(address: ClientAddress): void {
    this.take('maxOpensPerSecondPerAddress', address, 'streams were asked for from this address');
  }

  /** The user who requests a stream is known. @throws LimitReached if that user requests too many */
  openBy(auth: AuthenticationInfo | null): void {
    this.take('maxOpensPerSecondPerUser', userOf(auth), 'streams were asked for by this user');
  }

  /** A client requests a change. @throws LimitReached if there are too many from its address */
  changeFrom(address: ClientAddress): void {
    this.take('maxChangesPerSecondPerAddress', address, 'changes were asked for from this address');
  }

  /** A client requests a change of its connection. @throws LimitReached if there are too many of it */
  changeOf(connection: string): void {
    // There is no such connection, and the text would be remembered.
    if (connection.length > MAX_CONNECTION_LENGTH) return;
    this.take('maxChangesPerSecondPerConnection', connection, 'changes of this connection were asked for');
  }

  /**
   * A client requests missed or earlier messages. @throws LimitReached if there are too many requests, by this user or from this address
   */
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
