import type { MessageGap, MessagingClient, Position } from 'nestjs-messaging/client';
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
  readonly #positionOfRoom: () => Promise<Position>;
  /** Whether it was away, and has not got everything yet. */
  #isAway = false;
  #hasGap = false;
  #missed = 0;
  /** How far the page has come in the history of the room, and how far it has to come. */
  #offset = 0;
  #goal: number | undefined;

  /**
   * @param channel - that of the messages of the room
   * @param positionOfRoom - asks the server how far the room has come
   */
  constructor(
    client: MessagingClient,
    channel: string,
    log: Log,
    positionOfRoom: () => Promise<Position>,
    signal: AbortSignal,
  ) {
    this.#log = log;
    this.#positionOfRoom = positionOfRoom;
    const stops = [
      client.onGap((gap) => gap.channel === channel && this.#tellGap(gap)),
      client.onStatus(({ state }) => {
        if (state === 'waiting') this.#isAway = true;
        if (state === 'open' && this.#isAway) void this.#findGoal();
      }),
    ];
    signal.addEventListener('abort', () => stops.forEach((stop) => stop()));
  }

  /** A message has come. */
  note({ offset }: Position): void {
    this.#offset = offset;
    if (this.#isAway) this.#missed++;
    this.#tellIfThere();
  }

  #tellGap({ reason }: MessageGap): void {
    this.#hasGap = true;
    const why = WHY[reason];
    this.#log.tellGap(`Messages may be missing here${why === undefined ? '' : `: ${why}`}`);
  }

  /** What was missed may take a while to come; the server says how far it goes. */
  async #findGoal(): Promise<void> {
    try {
      this.#goal = (await this.#positionOfRoom()).offset;
      this.#tellIfThere();
    } catch {
      // Then nothing is said of it.
      this.#begin();
    }
  }

  #tellIfThere(): void {
    if (this.#goal === undefined || this.#offset < this.#goal) return;
    const meanwhile = { 0: 'nothing was said', 1: '1 message came' }[this.#missed] ?? `${this.#missed} messages came`;
    if (!this.#hasGap) this.#log.tellUpToDate(`You are up to date: ${meanwhile} meanwhile`);
    this.#begin();
  }

  #begin(): void {
    this.#isAway = this.#hasGap = false;
    this.#missed = 0;
    this.#goal = undefined;
  }
}
