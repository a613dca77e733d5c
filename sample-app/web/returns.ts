import type { MessageGap, MessagingClient } from 'nestjs-messaging/client';
import type { Log } from './log.js';

const WHY: Partial<Record<MessageGap['reason'], string>> = {
  epoch: 'the server has forgotten what was said before',
  trimmed: 'you were away for longer than they are kept',
};

/**
 * Tells in the log of a room how a lost connection has ended: that nothing is missing, with how much came meanwhile, or
 * where something may be.
 */
export class Returns {
  readonly #log: Log;
  #isAway = false;
  #hasGap = false;
  #missed = 0;

  /** @param channel - that of the messages of the room */
  constructor(client: MessagingClient, channel: string, log: Log, signal: AbortSignal) {
    this.#log = log;
    const stops = [
      client.onGap((gap) => gap.channel === channel && this.#tellGap(gap)),
      client.onStatus(({ state }) => {
        if (state === 'waiting') this.#isAway = true;
        if (state === 'open' && this.#isAway) this.#tellReturn();
      }),
    ];
    signal.addEventListener('abort', () => stops.forEach((stop) => stop()));
  }

  /** A message has come. All that was missed comes before the connection counts as open. */
  count(): void {
    if (this.#isAway) this.#missed++;
  }

  #tellGap({ reason }: MessageGap): void {
    this.#hasGap = true;
    const why = WHY[reason];
    this.#log.tellGap(`Messages may be missing here${why === undefined ? '' : `: ${why}`}`);
  }

  #tellReturn(): void {
    const meanwhile = { 0: 'nothing was said', 1: '1 message came' }[this.#missed] ?? `${this.#missed} messages came`;
    if (!this.#hasGap) this.#log.tellUpToDate(`You are up to date: ${meanwhile} meanwhile`);
    this.#isAway = this.#hasGap = false;
    this.#missed = 0;
  }
}
