import { Counts } from '../core/counts.js';
import { noPlace, type LimitReached } from '../core/limit-reached.js';
import type { Requester } from './requester.js';

/** One user, or all anonymous clients at one address, may take a quarter of the places. */
const SHARES = 4;

/** The places for requests that wait: for authorizers, or for a server that has never answered. */
export class RequestPlaces {
  private readonly byAsker = new Counts();
  private readonly share: number;
  private taken = 0;

  /** @param most - how many there are */
  constructor(private readonly most: number) {
    this.share = Math.ceil(most / SHARES);
  }

  /**
   * Holds a place until the work is done.
   *
   * @throws LimitReached (rejects) if all places, or all places of this requester, are taken; the work then does not start
   */
  async during<T>(requester: Requester, work: () => Promise<T>): Promise<T> {
    if (this.taken >= this.most) throw full(`${this.most} requests already wait here`, true);
    const asker = askerOf(requester);
    if (this.byAsker.of(asker) >= this.share) throw full(`${this.share} of your requests already wait here`, false);
    this.taken++;
    this.byAsker.change(asker, 1);
    try {
      return await work();
    } finally {
      this.taken--;
      this.byAsker.change(asker, -1);
    }
  }
}

/** @returns `undefined` for anonymous clients without a usable address; they are not counted */
function askerOf({ session: { auth }, address }: Requester): string | undefined {
  if (auth !== null) return `user ${auth.userId}`;
  return address === undefined ? undefined : `address ${address}`;
}

function full(message: string, isOfServer: boolean): LimitReached {
  return noPlace('gateway.maxPendingRequests', isOfServer, message);
}
