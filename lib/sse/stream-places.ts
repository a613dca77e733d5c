import { LimitReached } from '../core/limit-reached.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { Limits } from '../protocol/limits.js';

/** How soon after a refusal there may be room again. */
const FULL_MS = 5_000;

/** What places are counted by. */
type PlaceLimits = Pick<
  Limits,
  'maxConnections' | 'maxConnectionsPerUser' | 'maxConnectionsPerAddress' | 'maxAnonymousConnections'
>;

/** Who a place is for: `null` is nobody, and `undefined` is not known yet. */
export type PlaceOwner = AuthenticationInfo | null | undefined;

/** The places for streams: of those that are open, and of those that are still being decided about. */
export class StreamPlaces {
  private readonly byUser = new Map<string, number>();
  private readonly byAddress = new Map<string, number>();
  private anonymous = 0;
  private taken = 0;

  constructor(private readonly limits: PlaceLimits) {}

  /** How many are taken. */
  get size(): number {
    return this.taken;
  }

  /**
   * Takes a place.
   *
   * @param address - where the client is; `undefined` if that is not known, or says nothing
   * @throws LimitReached if there is none in all, for this address, or for its owner
   */
  take(address: string | undefined, owner: PlaceOwner): StreamPlace {
    const { maxConnections, maxConnectionsPerAddress } = this.limits;
    if (this.taken >= maxConnections) {
      const message = `This server holds ${maxConnections} connections`;
      throw new LimitReached('limits.maxConnections', true, message, FULL_MS);
    }
    if (address !== undefined && (this.byAddress.get(address) ?? 0) >= maxConnectionsPerAddress) {
      const message = `This address has ${maxConnectionsPerAddress} connections`;
      throw new LimitReached('limits.maxConnectionsPerAddress', false, message, FULL_MS);
    }
    const place = new StreamPlace(this, address);
    if (owner !== undefined) place.identify(owner);
    this.taken++;
    if (address !== undefined) count(this.byAddress, address, 1);
    return place;
  }

  /** @returns the user that is counted @throws LimitReached if there is no more place for them @internal */
  countOwner(auth: AuthenticationInfo | null): string | null {
    const { maxConnectionsPerUser, maxAnonymousConnections } = this.limits;
    if (auth === null) {
      if (this.anonymous >= maxAnonymousConnections) {
        const message = `This server holds ${maxAnonymousConnections} anonymous connections`;
        throw new LimitReached('limits.maxAnonymousConnections', true, message, FULL_MS);
      }
      this.anonymous++;
      return null;
    }
    const user = String(auth.userId);
    if ((this.byUser.get(user) ?? 0) >= maxConnectionsPerUser) {
      const message = `This user has ${maxConnectionsPerUser} connections`;
      throw new LimitReached('limits.maxConnectionsPerUser', false, message, FULL_MS);
    }
    count(this.byUser, user, 1);
    return user;
  }

  /** @internal */
  giveBack(address: string | undefined, user: string | null | undefined): void {
    this.taken--;
    if (address !== undefined) count(this.byAddress, address, -1);
    if (user === null) this.anonymous--;
    else if (user !== undefined) count(this.byUser, user, -1);
  }
}

/** The place of one stream. */
export class StreamPlace {
  /** `null`: of nobody; `undefined`: not known yet. */
  private user: string | null | undefined = undefined;
  private isGivenBack = false;

  /** @internal */
  constructor(
    private readonly places: StreamPlaces,
    private readonly address: string | undefined,
  ) {}

  /**
   * Says whose it is, once that is known.
   *
   * @throws LimitReached if there is no more place for them; it has to be given back all the same
   */
  identify(auth: AuthenticationInfo | null): void {
    if (this.isGivenBack || this.user !== undefined) return;
    this.user = this.places.countOwner(auth);
  }

  /** Calls after the first change nothing. */
  giveBack(): void {
    if (this.isGivenBack) return;
    this.isGivenBack = true;
    this.places.giveBack(this.address, this.user);
  }
}

function count(counts: Map<string, number>, key: string, change: 1 | -1): void {
  const sum = (counts.get(key) ?? 0) + change;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}
