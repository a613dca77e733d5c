import type { GapReason, Position } from '../protocol/position.js';
import { Replays, type Replay } from './replays.js';

/** More is not kept for the next client. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;

/** Some of a history, as clients are sent it. */
export interface HistoryPage {
  /** Why messages before it are missing. */
  readonly gap: GapReason | undefined;
  /** Right before its first message. */
  readonly from: Position;
  readonly missed: Replay;
  /** Right after its last message. */
  readonly next: Position;
  /** Whether that was all there was. */
  readonly isLast: boolean;
}

/** Reads of histories for the clients of this node: those that want the same at once cost one read and one encoding. */
export class HistoryReads {
  /** What clients are sent alike. */
  readonly replays = new Replays();
  private readonly inFlight = new Map<string, Promise<HistoryPage>>();
  private kept = new Map<string, HistoryPage>();
  private bytes = 0;

  /** What was read for another client a moment ago. */
  known(key: string): HistoryPage | undefined {
    return this.kept.get(key);
  }

  /** @param isKept - whether it stays true while more is appended */
  read(key: string, isKept: boolean, read: () => Promise<HistoryPage>): Promise<HistoryPage> {
    let page = this.inFlight.get(key);
    if (page === undefined) {
      page = read().then((found) => {
        if (isKept) this.keep(key, found);
        return found;
      });
      this.inFlight.set(key, page);
      const forget = (): void => void this.inFlight.delete(key);
      page.then(forget, forget);
    }
    return page;
  }

  /** Forgets what was kept, since nobody comes any more. */
  clear(): void {
    this.replays.clear();
    this.kept = new Map();
    this.bytes = 0;
  }

  private keep(key: string, page: HistoryPage): void {
    this.bytes += page.missed.size;
    if (this.bytes > MAX_KEPT_BYTES) this.clear();
    else this.kept.set(key, page);
  }
}
