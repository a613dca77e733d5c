import type { ChannelRequest, ReplayAnswer, ReplayEvent } from '../protocol/gateway.js';
import type { LinkReceiver, Past } from './link.js';
import type { GapReason } from '../protocol/position.js';
import { isUpTo, type Positions } from './positions.js';

/** Who a stream works for. */
export interface PastOwner {
  /** The channels to subscribe to. The stream takes out what is refused. */
  readonly wanted: Set<string>;
  /** The stream moves them on. */
  readonly positions: Positions;
  /** What listeners want of the past. The stream moves it on, and takes out what is complete. */
  readonly replays: Map<string, Past>;
  readonly receiver: LinkReceiver;
}

/** As the server sends it, or as it is assumed of a server that does not. */
type PageEvent = Omit<ReplayEvent, 'reason'> & { readonly reason?: GapReason | 'unknown' };

/** The past for single listeners, as one event stream brings it between the messages for all. */
export class PastStream {
  readonly #owner: PastOwner;
  readonly #asked = new Set<string | undefined>();
  /** What stands before the messages that are for one listener alone. */
  #page: PageEvent | undefined;

  constructor(owner: PastOwner) {
    this.#owner = owner;
  }

  /** What was not asked for yet. */
  requests(): ChannelRequest[] {
    return [...this.#owner.replays]
      .filter(([listener, { channel }]) => !this.#asked.has(listener) && this.#owner.wanted.has(channel))
      .map(([listener, { channel, start }]) => ({ channel, replay: start, listener }));
  }

  asked(requests: readonly ChannelRequest[]): void {
    for (const { listener } of requests) this.#asked.add(listener);
  }

  /** It is not known whether a server has taken these requests. */
  failed(requests: readonly ChannelRequest[]): void {
    for (const { listener } of requests) this.#asked.delete(listener);
  }

  /** Takes the answer to a request. */
  settle(listener: string, channel: string, answers: readonly ReplayAnswer[]): void {
    const answer = answers.find((each) => each.listener === listener);
    if (!answer) {
      // A server of before knows of no past.
      const position = this.#owner.positions.get(channel)!;
      this.event({ listener, channel, position, reason: 'unknown', done: true });
    } else if (answer.error) {
      this.#owner.replays.delete(listener);
      this.#owner.receiver.replayed({ listener, error: answer.message ?? answer.error });
    }
  }

  /** Takes what stands before or after a page. */
  event(page: PageEvent): void {
    const { listener, channel, position, reason, done } = page;
    this.#page = done === undefined ? page : undefined;
    const past = this.#owner.replays.get(listener);
    if (!past) return;
    if (reason) this.#owner.receiver.replayed({ listener, gap: { channel, reason, position } });
    if (!isUpTo(position, past.start)) past.start = position;
    if (!done) return;
    this.#owner.replays.delete(listener);
    this.#owner.receiver.replayed({ listener, position, isDone: true });
  }

  /** @returns whether a message is of a page */
  takes(frame: unknown, id: string | undefined): boolean {
    if (!this.#page || !id) return false;
    const { listener, position: before } = this.#page;
    const past = this.#owner.replays.get(listener);
    const position = { ...before, offset: +id };
    if (past && !isUpTo(position, past.start)) {
      past.start = position;
      this.#owner.receiver.replayed({ listener, frame, position });
    }
    return true;
  }
}
