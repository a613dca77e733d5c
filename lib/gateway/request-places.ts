import { LimitReached } from '../core/limit-reached.js';
import type { Requester } from './requester.js';

/** How soon after a refusal there may be room again. */
const FULL_MS = 5_000;
/** One user, or all who are anonymous at one address, may have the fourth part. */
const SHARES = 4;

/** The places for requests that wait: for authorizers, or for a server that has never answered. */
export class RequestPlaces {
  private readonly byAsker = new Map<string, number>();
  private readonly share: number;
  private taken = 0;

  /** @param most - how many there are */
  constructor(private readonly most: number) {
    this.share = Math.ceil(most / SHARES);
  }

  /**
   * Holds a place until the work is done.
   *
   * @throws LimitReached (rejects) if there is none, or none for who asks; the work is not begun then
   */
  async during<T>(requester: Requester, work: () => Promise<T>): Promise<T> {
    if (this.taken >= this.most) throw full(`${this.most} requests wait here`, true);
    const asker = askerOf(requester);
    const theirs = asker === undefined ? 0 : (this.byAsker.get(asker) ?? 0);
    if (theirs >= this.share) throw full(`${this.share} of your requests wait here`, false);
    this.taken++;
    if (asker !== undefined) this.byAsker.set(asker, theirs + 1);
    try {
      return await work();
    } finally {
      this.taken--;
      if (asker !== undefined) this.giveBack(asker);
    }
  }

  private giveBack(asker: string): void {
    const left = this.byAsker.get(asker)! - 1;
    if (left === 0) this.byAsker.delete(asker);
    else this.byAsker.set(asker, left);
  }
}

/** @returns nothing for those who are anonymous at an address that says nothing */
function askerOf({ session: { auth }, address }: Requester): string | undefined {
  if (auth !== null) return `user ${auth.userId}`;
  return address === undefined ? undefined : `address ${address}`;
}

function full(message: string, isOfServer: boolean): LimitReached {
  return new LimitReached('gateway.maxPendingRequests', isOfServer, message, FULL_MS);
}
