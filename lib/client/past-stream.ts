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
  readonly #wanted: PastOwner['wanted'];
  readonly #positions: Positions;
  readonly #replays: PastOwner['replays'];
  readonly #receiver: LinkReceiver;
  readonly #asked = new Set<string>();
  /** What stands before the messages that are for one listener alone. */
  #page: ReplayEvent | undefined;

  constructor({ wanted, positions, replays, receiver }: PastOwner) {
    this.#wanted = wanted;
    this.#positions = positions;
    this.#replays = replays;
    this.#receiver = receiver;
  }

  /** What was not asked for yet. */
  requests(): ChannelRequest[] {
    return [...this.#replays]
      .filter(([listener, { channel }]) => !this.#asked.has(listener) && this.#wanted.has(channel))
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
    const answer = answers.find((each) => each.listener === listener);
    if (answer && !answer.error) return;
    this.#replays.delete(listener);
    if (answer) return this.#receiver.replayed({ listener, error: answer.message ?? answer.error });
    // A server of before knows of no past.
    const position = this.#positions.get(channel);
    this.#receiver.replayed({ listener, gap: { channel, reason: 'unknown', position } });
    this.#receiver.replayed({ listener, position, isDone: true });
  }

  /** Takes what stands before or after a page. */
  event(page: ReplayEvent): void {
    const { listener, channel, position, reason, done } = page;
    this.#page = done === undefined ? page : undefined;
    const past = this.#replays.get(listener);
    if (!past) return;
    if (reason) this.#receiver.replayed({ listener, gap: { channel, reason, position } });
    if (!isUpTo(position, past.start)) past.start = position;
    if (!done) return;
    this.#replays.delete(listener);
    this.#receiver.replayed({ listener, position, isDone: true });
  }

  /** @returns whether a message is of a page */
  takes(frame: unknown, id: string | undefined): boolean {
    if (!this.#page || !id) return false;
    const { listener, position: before } = this.#page;
    const past = this.#replays.get(listener);
    const position = { epoch: before.epoch, offset: +id };
    if (past && !isUpTo(position, past.start)) {
      past.start = position;
      this.#receiver.replayed({ listener, frame, position });
    }
    return true;
  }
}
