import { LimitReached } from '../core/limit-reached.js';
import type { Session } from '../core/session.js';
import type { ChannelAnswer, SubscribeError } from '../protocol/gateway.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { ClientAddress } from '../sse/client-limits.js';
import { closedRefusal } from './refusal.js';
import { Slices } from './slices.js';

/** How soon after a refusal there may be room again. */
const FULL_MS = 5_000;
/** How many channels of one request are decided about at a time. */
const MAX_PER_REQUEST = 16;

/** Who asks for channels. */
export interface Requester {
  /** Of the request; nothing more is decided once it has closed. */
  readonly session: Session;
  /** The HTTP request. */
  readonly request: unknown;
  readonly address: ClientAddress;
}

/** Which channels there are for which client. */
export interface ChannelDecider {
  /** Whether a client may subscribe to a channel, or to a template as a whole. Never rejects. */
  decide(channel: string, auth: AuthenticationInfo | null, request: unknown): Promise<ChannelAnswer>;
  /** Why no client at all may subscribe to a channel here, or to a template as a whole; nobody is asked. */
  faultOf(channel: string): SubscribeError | undefined;
}

/** Decides about all channels of a request; bounds what requests cost. */
export class ChannelDecisions {
  private pending = 0;

  /**
   * @param maxPending - how many requests may be decided about at a time
   * @param maxChannels - how many channels of one request are looked at
   */
  constructor(
    private readonly channels: ChannelDecider,
    private readonly maxPending: number,
    private readonly maxChannels: number,
  ) {}

  /**
   * @returns what becomes of each channel, in the order of the request
   * @throws LimitReached (rejects) if too many requests wait
   * @throws Refusal (rejects) if the client leaves meanwhile
   */
  async decide(names: readonly string[], requester: Requester): Promise<ChannelAnswer[]> {
    if (this.pending >= this.maxPending) {
      const message = `${this.maxPending} requests wait for authorizers here`;
      throw new LimitReached('gateway.maxPendingRequests', true, message, FULL_MS);
    }
    this.pending++;
    try {
      return await this.decideAll(names, requester);
    } finally {
      this.pending--;
    }
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
        // Looked at right before, since others work on the same request.
        while (slices.isOver) await slices.next();
        answers[index] = await this.channels.decide(names[index]!, auth, request);
      }
    };
    await Promise.all(Array.from({ length: Math.min(count, MAX_PER_REQUEST) }, work));
    if (session.closed) throw closedRefusal(session);
    return answers;
  }
}
