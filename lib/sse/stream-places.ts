import { Counts } from '../core/counts.js';
import { noPlace } from '../core/limit-reached.js';
import type { SessionObserver } from '../core/session-close-reason.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { Limits } from '../protocol/limits.js';

/** The limits on places. */
type PlaceLimits = Pick<
  Limits,
  'maxConnections' | 'maxConnectionsPerUser' | 'maxConnectionsPerAddress' | 'maxAnonymousConnections'
>;

/** The owner of a place: `null` is anonymous, `undefined` is not known yet. */
export type PlaceOwner = AuthenticationInfo | null | undefined;

/** The places for streams: open ones, and those that are not decided yet. */
export class StreamPlaces {
  private readonly byUser = new Counts();
  private readonly byAddress = new Counts();
  private anonymous = 0;
  private taken = 0;

  constructor(private readonly limits: PlaceLimits) {}

  /** How many places are taken. */
  get size(): number {
    return this.taken;
  }

  /**
   * Checks whether there is room for another place, of any owner.
   *
   * @throws LimitReached if the server or this address has no place left
   */
  assertRoom(address: string | undefined): void {
    const { maxConnections, maxConnectionsPerAddress } = this.limits;
    if (this.taken >= maxConnections) {
      const message = `This server holds ${maxConnections} connections`;
      throw noPlace('limits.maxConnections', true, message);
    }
    if (address !== undefined && this.byAddress.of(address) >= maxConnectionsPerAddress) {
      const message = `This address has ${maxConnectionsPerAddress} connections`;
      throw noPlace('limits.maxConnectionsPerAddress', false, message);
    }
  }

  /**
   * Takes a place.
   *
   * @param address - the client's address; `undefined` if it is unknown or identifies nobody
   * @throws LimitReached if the server, this address or this owner has no place left
   */
  take(address: string | undefined, owner: PlaceOwner): StreamPlace {
    this.assertRoom(address);
    const place = new StreamPlace(this, address);
    if (owner !== undefined) place.identify(owner);
    this.taken++;
    this.byAddress.change(address, 1);
    return place;
  }

  /** @returns the counted user @throws LimitReached if this user has no place left @internal */
  countOwner(auth: AuthenticationInfo | null): string | null {
    const { maxConnectionsPerUser, maxAnonymousConnections } = this.limits;
    if (auth === null) {
      if (this.anonymous >= maxAnonymousConnections) {
        const message = `This server holds ${maxAnonymousConnections} anonymous connections`;
        throw noPlace('limits.maxAnonymousConnections', true, message);
      }
      this.anonymous++;
      return null;
    }
    const user = String(auth.userId);
    if (this.byUser.of(user) >= maxConnectionsPerUser) {
      const message = `This user has ${maxConnectionsPerUser} connections`;
      throw noPlace('limits.maxConnectionsPerUser', false, message);
    }
    this.byUser.change(user, 1);
    return user;
  }

  /** @internal */
  giveBack(address: string | undefined, user: string | null | undefined): void {
    this.taken--;
    this.byAddress.change(address, -1);
    if (user === null) this.anonymous--;
    else this.byUser.change(user, -1);
  }
}

/** The place of one stream. It is given back when its session closes. */
export class StreamPlace implements SessionObserver {
  /** `null`: anonymous; `undefined`: not known yet. */
  private user: string | null | undefined = undefined;
  private isGivenBack = false;

  /** @internal */
  constructor(
    private readonly places: StreamPlaces,
    private readonly address: string | undefined,
  ) {}

  /**
   * Sets the owner once it is known.
   *
   * @throws LimitReached if the owner has no place left; the place must still be given back
   */
  identify(auth: AuthenticationInfo | null): void {
    if (this.isGivenBack || this.user !== undefined) return;
    this.user = this.places.countOwner(auth);
  }

  sessionClosed(): void {
    this.giveBack();
  }

  /** Gives the place back. Further calls have no effect. */
  giveBack(): void {
    if (this.isGivenBack) return;
    this.isGivenBack = true;
    this.places.giveBack(this.address, this.user);
  }
}
