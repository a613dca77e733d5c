import type { ChannelRequest, ReplayAnswer, ReplayEvent } from '../protocol/gateway.js';
import type { LinkReceiver, Past } from './link.js';
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

/** The past for single listeners, as one event stream brings it between the messages for all. */
export class PastStream {
  readonly #owner: PastOwner;
  readonly #asked = new Set<string>();
  /** What stands before the messages that are for one listener alone. */
  #page: ReplayEvent | undefined;

  constructor(owner: PastOwner) {
    this.#owner = owner;
  }

  /** What was not asked for yet. */
  requests(): ChannelRequest[] {
    const { replays, wanted } = this.#owner;
    return [...replays]
      .filter(([listener, { channel }]) => !this.#asked.has(listener) && wanted.has(channel))
      .map(([listener, { channel, start }]) => ({ channel, replay: start, listener }));
  }

  asked(requests: readonly ChannelRequest[]): void {
    for (const { listener } of requests) if (listener) this.#asked.add(listener);
  }

  /** It is not known whether a server has taken these requests. */
  failed(requests: readonly ChannelRequest[]): void {
    for (const { listener } of requests) this.#asked.delete(listener!);
  }

  /** Takes the answer to a request. */
  settle(listener: string, channel: string, answers: readonly ReplayAnswer[]): void {
    const { replays, positions, receiver } = this.#owner;
    const answer = answers.find((each) => each.listener === listener);
    if (answer && !answer.error) return;
    replays.delete(listener);
    if (answer) return receiver.replayed({ listener, error: answer.message ?? answer.error });
    // A server of before knows of no past.
    const position = positions.get(channel);
    receiver.replayed({ listener, gap: { channel, reason: 'unknown', position } });
    receiver.replayed({ listener, position, isDone: true });
  }

  /** Takes what stands before or after a page. */
  event(page: ReplayEvent): void {
    const { listener, channel, position, reason, done } = page;
    const { replays, receiver } = this.#owner;
    this.#page = done === undefined ? page : undefined;
    const past = replays.get(listener);
    if (!past) return;
    if (reason) receiver.replayed({ listener, gap: { channel, reason, position } });
    if (!isUpTo(position, past.start)) past.start = position;
    if (!done) return;
    replays.delete(listener);
    receiver.replayed({ listener, position, isDone: true });
  }

  /** @returns whether a message is of a page */
  takes(frame: unknown, id: string | undefined): boolean {
    if (!this.#page || !id) return false;
    const { listener, position: before } = this.#page;
    const past = this.#owner.replays.get(listener);
    const position = { epoch: before.epoch, offset: +id };
    if (past && !isUpTo(position, past.start)) {
      past.start = position;
      this.#owner.receiver.replayed({ listener, frame, position });
    }
    return true;
  }
}
