import type { ChannelAnswer, SubscribeError } from '../protocol/gateway.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { clientLeft } from './refusal.js';
import type { RequestPlaces } from './request-places.js';
import type { Requester } from './requester.js';
import { Slices } from './slices.js';

/** How many channels of one request are decided at a time. */
const MAX_PER_REQUEST = 16;

/** Decides which clients may use which channels. */
export interface ChannelDecider {
  /** Whether a client may subscribe to a channel, or to a template as a whole. Never rejects. */
  decide(channel: string, auth: AuthenticationInfo | null, request: unknown): Promise<ChannelAnswer>;
  /** Why no client may subscribe to a channel, or to a template as a whole, on this server. No authorizer is called. */
  faultOf(channel: string): SubscribeError | undefined;
}

/** Decides about all channels of a request, and bounds the cost of requests. */
export class ChannelDecisions {
  /**
   * @param places - limit the number of requests under way
   * @param maxChannels - how many channels of one request are considered
   */
  constructor(
    private readonly channels: ChannelDecider,
    private readonly places: RequestPlaces,
    private readonly maxChannels: number,
  ) {}

  /**
   * @returns the decision about each channel, in the order of the request
   * @throws LimitReached (rejects) if too many requests wait, in total or from this requester
   * @throws Refusal (rejects) if the client leaves meanwhile
   */
  decide(names: readonly string[], requester: Requester): Promise<ChannelAnswer[]> {
    return this.places.during(requester, () => this.decideAll(names, requester));
  }

  private async decideAll(names: readonly string[], { session, request }: Requester): Promise<ChannelAnswer[]> {
    const { auth } = session;
    const answers = names.map((channel): ChannelAnswer => ({ channel, error: 'LIMIT_EXCEEDED' }));
    const count = Math.min(names.length, this.maxChannels);
    let next = 0;
    const slices = new Slices();
    const work = async () => {
      while (next < count && !session.closed) {
        const index = next++;
        // Checked directly before, since others work on the same request.
        while (slices.isOver) await slices.next();
        answers[index] = await this.channels.decide(names[index]!, auth, request);
      }
    };
    await Promise.all(Array.from({ length: Math.min(count, MAX_PER_REQUEST) }, work));
    if (session.closed) throw clientLeft();
    return answers;
  }
}
