import type { Hub } from '../core/hub.js';
import type { DeliveriesRead, ReplayStart } from '../core/replay.js';
import { placeId } from '../protocol/place-id.js';

/** What is read at once: what a connection takes at once, since the page of a slow reader is kept meanwhile. */
const PAGE = { maxEntries: 256, maxBytes: 65_536 };
/** How many pages are kept for others who want the same. */
const MAX_PAGES = 256;
/** For how long. In milliseconds. */
const KEPT_MS = 1_000;

/** Reads the history of a channel, once for all who want the same at a time. */
export class HistoryPages {
  private readonly pages = new Map<string, Promise<DeliveriesRead>>();

  private timer: NodeJS.Timeout | undefined = undefined;

  constructor(
    private readonly hub: Hub,
    private readonly channel: string,
  ) {}

  /**
   * What comes after a place: one page of it.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  read(start: ReplayStart): Promise<DeliveriesRead> {
    const { pages, channel } = this;
    const key = typeof start === 'number' ? String(start) : placeId(start);
    const known = pages.get(key);
    if (known !== undefined) return known;
    const page = this.hub.readHistory(channel, start, PAGE);
    const [oldest] = pages.keys();
    if (oldest !== undefined && pages.size >= MAX_PAGES) pages.delete(oldest);
    pages.set(key, page);
    this.timer ??= setTimeout(() => this.forget(), KEPT_MS).unref();
    page.catch(() => this.pages.get(key) === page && this.pages.delete(key));
    return page;
  }

  /** To be called when the history has become longer. */
  forget(): void {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.pages.clear();
  }
}
