import type { Hub } from '../core/hub.js';
import { setLast } from '../core/keep-last.js';
import type { DeliveriesRead, ReplayStart } from '../core/replay.js';
import { placeId } from '../protocol/place-id.js';

/** The size of one read: as much as a connection takes at once, since the page of a slow reader is kept meanwhile. */
const PAGE = { maxEntries: 256, maxBytes: 65_536 };
/** How many pages are kept for other readers. */
const MAX_PAGES = 256;
/** How long they are kept. In milliseconds. */
const KEPT_MS = 1_000;

/** Reads the history of a channel, once for all readers of the same page. */
export class HistoryPages {
  private readonly pages = new Map<string, Promise<DeliveriesRead>>();

  private timer: NodeJS.Timeout | undefined = undefined;

  constructor(
    private readonly hub: Hub,
    private readonly channel: string,
  ) {}

  /**
   * Reads one page after a position.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  read(start: ReplayStart): Promise<DeliveriesRead> {
    const { pages, channel } = this;
    const key = typeof start === 'number' ? String(start) : placeId(start);
    const known = pages.get(key);
    const ask = (): Promise<DeliveriesRead> => this.hub.readHistory(channel, start, PAGE);
    // Where that reader claims to be, further than the history, another one may be rightly a moment later.
    if (known !== undefined) return known.then((found) => (found.gap === 'future' ? ask() : found));
    const page = ask();
    setLast(pages, key, page, MAX_PAGES);
    this.timer ??= setTimeout(() => this.forget(), KEPT_MS).unref();
    page.catch(() => this.pages.get(key) === page && this.pages.delete(key));
    return page;
  }

  /** Call it when the history has become longer. */
  forget(): void {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.pages.clear();
  }
}
