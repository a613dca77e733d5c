import type { ChannelAnswer, SubscribeError } from '../protocol/gateway.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { ChannelRule, RulesByName } from './channel-rule.js';
import { clientLeft } from './refusal.js';
import type { RequestPlaces } from './request-places.js';
import type { Requester } from './requester.js';
import { Slices } from './slices.js';

/** How many channels of one request are decided at a time. */
const MAX_PER_REQUEST = 16;

/** Decides which clients may use which channels. */
export interface ChannelDecider {
  /** The rule by which a client may subscribe to a channel, or to a template as a whole; or why it may not. Never rejects. */
  decide(channel: string, auth: AuthenticationInfo | null, request: unknown): Promise<ChannelRule | SubscribeError>;
  /** Why no client may subscribe to a channel, or to a template as a whole, on this server. No authorizer is called. */
  faultOf(channel: string): SubscribeError | undefined;
}

/** The decisions about the channels of a request. */
export interface Decisions {
  /** The answers for the client, in the order of the request. */
  readonly answers: readonly ChannelAnswer[];
  /** The rules that granted channels. Never for the client: they name classes of the application. */
  readonly rules: RulesByName;
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
   * @throws LimitReached (rejects) if too many requests wait, in total or from this requester
   * @throws Refusal (rejects) if the client leaves meanwhile
   */
  decide(names: readonly string[], requester: Requester): Promise<Decisions> {
    return this.places.during(requester, () => this.decideAll(names, requester));
  }

  private async decideAll(names: readonly string[], { session, request }: Requester): Promise<Decisions> {
    const { auth } = session;
    const answers = names.map((channel): ChannelAnswer => ({ channel, error: 'LIMIT_EXCEEDED' }));
    const rules = new Map<string, ChannelRule>();
    const count = Math.min(names.length, this.maxChannels);
    let next = 0;
    const slices = new Slices();
    const work = async () => {
      while (next < count && !session.closed) {
        const index = next++;
        // Checked directly before, since others work on the same request.
        while (slices.isOver) await slices.next();
        const channel = names[index]!;
        const decision = await this.channels.decide(channel, auth, request);
        if (typeof decision === 'string') {
          answers[index] = { channel, error: decision };
        } else {
          answers[index] = { channel };
          rules.set(channel, decision);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(count, MAX_PER_REQUEST) }, work));
    if (session.closed) throw clientLeft();
    return { answers, rules };
  }
}
