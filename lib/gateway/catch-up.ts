import type { Reporter } from '../core/reporter.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import type { FeedPlace } from '../sse/feed.js';
import type { WorkQueue } from '../sse/work-queue.js';
import type { NativeReader } from './channel-feed.js';
import { enterHistory, type HistoryEntrance } from './history-entrance.js';
import type { HistoryFeed, HistoryStart } from './history-feed.js';
import type { HistoryPage } from './history-reads.js';
import type { StreamForm } from './stream-form.js';

/** After so long it is tried again to read. In milliseconds. */
const RETRY_MS = 500;

/** A channel with history that a client has. */
export interface HeldHistory {
  readonly feed: HistoryFeed;
  /** From where it is to be sent more, until it goes on with what comes. */
  start: HistoryStart;
  /** While it is sent what comes. */
  place: FeedPlace | NativeReader | undefined;
}

/** Whose channels they are. */
export interface CatchingUp {
  readonly form: StreamForm;
  /** Whether the client still has a channel. */
  has(held: HeldHistory): boolean;
  /** Resolves when the client has taken what it was sent, or has gone. */
  drained(): Promise<void>;
}

/** Sends one client what it has missed of its channels with history, page by page as it reads, until it goes on with what comes. */
export class CatchUp {
  private readonly behind = new Set<HeldHistory>();
  private isRunning = false;

  constructor(
    private readonly client: CatchingUp,
    private readonly queue: WorkQueue,
    private readonly reporter: Reporter,
  ) {}

  /** Goes on with a channel. To be called in the turn in which it was entered, after what the entrance has was sent. */
  goOn(held: HeldHistory, { feed, at, isWhole }: HistoryEntrance): void {
    held.start = at ?? held.start;
    if (!isWhole || at === undefined) return this.add(held);
    const place = (held.place = this.client.form.placeIn(feed.name));
    feed.join(place, at, () => {
      held.place = undefined;
      this.add(held);
    });
  }

  private add(held: HeldHistory): void {
    this.behind.add(held);
    if (!this.isRunning) void this.run();
  }

  /** One after the other, so that no more waits for the client than one page. */
  private async run(): Promise<void> {
    this.isRunning = true;
    for (const held of this.behind) {
      await this.client.drained();
      this.behind.delete(held);
      const page = this.client.has(held) ? await this.pageFor(held) : undefined;
      if (page !== undefined) await this.inTurn(() => this.send(held, page));
    }
    this.isRunning = false;
  }

  /** @returns `undefined` if it cannot be known now; it is tried again */
  private async pageFor(held: HeldHistory): Promise<HistoryPage | undefined> {
    try {
      return await held.feed.find(held.start);
    } catch (error) {
      if (!(error instanceof TransportUnavailableError)) {
        this.reporter.messageRejected({ channel: held.feed.name, error: error as Error });
      }
      setTimeout(() => this.add(held), RETRY_MS).unref();
      return undefined;
    }
  }

  private send(held: HeldHistory, page: HistoryPage): void {
    if (!this.client.has(held)) return;
    const { feed, start } = held;
    feed.settle();
    // Whoever came while it was not known from where the channel goes on was told that it is subscribed.
    const entrance = enterHistory(feed, start, page, start === undefined ? 'broker' : page.gap);
    this.client.form.missed(entrance);
    this.goOn(held, entrance);
  }

  private inTurn(act: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.queue.add(() => {
        try {
          act();
        } finally {
          resolve();
        }
      });
    });
  }
}
