import type { Reporter } from '../core/reporter.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import type { FeedPlace } from '../sse/feed.js';
import type { WorkQueue } from '../sse/work-queue.js';
import type { ChannelRule } from './channel-rule.js';
import type { NativeReader } from './used-feed.js';
import { enterHistory, enterLater, type HistoryEntrance } from './history-entrance.js';
import type { HistoryFeed, HistoryStart } from './history-feed.js';
import type { HistoryPage } from './history-reads.js';
import type { ListenerReplay } from './replay-request.js';
import type { StreamForm } from './stream-form.js';

/** How long to wait before a failed read is repeated. In milliseconds. */
const RETRY_MS = 500;

/** A channel with history that a client is subscribed to. */
export interface HeldHistory {
  readonly feed: HistoryFeed;
  /** The rule that granted it, if it is known. */
  rule: ChannelRule | undefined;
  /** Where to read on for it, until it gets live messages. */
  start: HistoryStart;
  /** See {@link Promised}. */
  since?: Position | undefined;
  /** Set while it gets live messages. */
  place: FeedPlace | NativeReader | undefined;
}

/** What a client has been promised of a channel that is read for it later. */
interface Promised {
  readonly feed: HistoryFeed;
  start: HistoryStart;
  /** The position of the feed when the client was told that it has the channel; `undefined`: unknown. It gets all later messages. */
  readonly since?: Position | undefined;
}

/** The earlier messages of a channel for one listener of a client. */
interface Aside extends Promised {
  readonly of: HeldHistory;
  readonly listener: string;
}

/** The client that the channels belong to. */
export interface CatchingUp {
  readonly form: StreamForm;
  /** Whether the client still has a channel. */
  has(held: HeldHistory): boolean;
  /** Resolves when the client has taken everything it was sent, or has gone. */
  drained(): Promise<void>;
}

/** Sends one client the messages that it has missed on its channels with history, page by page as it reads, until it gets live ones. */
export class CatchUp {
  private readonly behind = new Set<HeldHistory | Aside>();
  private readonly asides = new Set<Aside>();
  private isRunning = false;

  /** @param maxAsides - how many listeners may be reading earlier messages */
  constructor(
    private readonly client: CatchingUp,
    private readonly queue: WorkQueue,
    private readonly reporter: Reporter,
    private readonly maxAsides: number,
  ) {}

  /** Continues with a channel. Call it in the turn of the entrance, after its messages have been sent. */
  goOn(held: HeldHistory, { feed, at, isWhole }: HistoryEntrance): void {
    held.start = at ?? held.start;
    held.since ??= feed.present;
    if (!isWhole || at === undefined) return this.add(held);
    const place = (held.place = this.client.form.placeIn(feed.name));
    feed.join(place, at, () => {
      held.place = undefined;
      this.add(held);
    });
    for (const aside of this.asides) if (aside.of === held) this.add(aside);
  }

  /** Sends one listener earlier messages of a channel, up to the position of the stream. */
  replay(of: HeldHistory, { listener, start }: ListenerReplay): void {
    const { feed } = of;
    const aside = { of, feed, listener, start, since: feed.present };
    if (this.asides.size >= this.maxAsides) {
      const at = this.positionOf(of) ?? { epoch: '', offset: 0 };
      return this.client.form.replayed?.(listener, { ...enterLater(feed, at), from: at, gap: 'trimmed' }, true);
    }
    this.asides.add(aside);
    // Otherwise it is added when the channel continues.
    if (of.place !== undefined) this.add(aside);
  }

  private add(one: HeldHistory | Aside): void {
    this.behind.add(one);
    if (!this.isRunning) void this.run();
  }

  private addLater(one: HeldHistory | Aside): void {
    setTimeout(() => this.add(one), RETRY_MS).unref();
  }

  /** Sends one page after the other, so that at most one page waits for the client. */
  private async run(): Promise<void> {
    this.isRunning = true;
    for (const one of this.behind) {
      await this.client.drained();
      this.behind.delete(one);
      const page = this.has(one) ? await this.pageFor(one) : undefined;
      if (page !== undefined) await this.inTurn(() => this.send(one, page));
    }
    this.isRunning = false;
  }

  private has(one: HeldHistory | Aside): boolean {
    if (!('of' in one)) return this.client.has(one);
    if (!this.client.has(one.of)) this.asides.delete(one);
    return this.asides.has(one);
  }

  /** @returns `undefined` if the page cannot be read now; the read is repeated */
  private async pageFor(one: HeldHistory | Aside): Promise<HistoryPage | undefined> {
    try {
      return await pageOf(one);
    } catch (error) {
      if (!(error instanceof TransportUnavailableError)) {
        this.reporter.messageRejected({ channel: one.feed.name, error: error as Error });
      }
      this.addLater(one);
      return undefined;
    }
  }

  private send(one: HeldHistory | Aside, page: HistoryPage): void {
    if (!this.has(one)) return;
    const { feed, start } = one;
    feed.settle();
    const entrance = enterHistory(feed, start, page, mayMissMore(one, page) ? 'broker' : page.gap);
    if ('of' in one) return this.sendAside(one, entrance, page);
    this.client.form.missed(entrance);
    this.goOn(one, entrance);
  }

  private sendAside(aside: Aside, entrance: HistoryEntrance, { from }: HistoryPage): void {
    const { at, isWhole } = entrance;
    const present = this.positionOf(aside.of);
    // It continues when the channel does.
    if (present === undefined) return;
    const isAhead = present.epoch === at?.epoch && at.offset > present.offset;
    // Not if it is ahead: the stream would repeat the messages in between, and in another epoch the client could not recognise them.
    const isDone = isWhole && present.epoch === at?.epoch && at.offset === present.offset;
    this.client.form.replayed?.(aside.listener, { ...entrance, from }, isDone);
    aside.start = at;
    if (isDone) this.asides.delete(aside);
    else if (!isWhole) this.add(aside);
    else if (isAhead) aside.feed.whenAt(at, () => this.add(aside));
    else this.addLater(aside);
  }

  /** The position of the stream in a channel that gets live messages. */
  private positionOf({ feed, place }: HeldHistory): ReturnType<HistoryFeed['positionOf']> {
    return place && feed.positionOf(place);
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

/** @throws (rejects) TransportUnavailableError if it cannot be read now */
async function pageOf({ feed, start, since }: Promised): Promise<HistoryPage> {
  const page = await feed.find(start);
  if (typeof start !== 'number' || since === undefined) return page;
  // More messages than the client asked for have come since it was told that it has the channel.
  const isLater = page.from.epoch !== since.epoch || page.from.offset > since.offset;
  return isLater ? feed.find(since) : page;
}

/** Whether the client was told that it has the channel when its position was unknown, and more may have come than it gets. */
function mayMissMore({ start, since }: Promised, { from }: HistoryPage): boolean {
  if (start === undefined) return true;
  // From the first message of a history on, it gets all. How many a page has says nothing: there may be more, and invalid ones are left out.
  return typeof start === 'number' && since === undefined && from.offset > 0;
}
