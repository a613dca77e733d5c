import type { GapReason, Position } from '../protocol/position.js';
import { Replays, type ClientReplay } from './replays.js';

/** How much is kept for the next client. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;

/** A part of a history, as clients are sent it. */
export interface HistoryPage {
  /** Why messages before it are missing. */
  readonly gap: GapReason | undefined;
  /** The position directly before its first message. */
  readonly from: Position;
  readonly missed: ClientReplay;
  /** The position directly after its last message. */
  readonly next: Position;
  /** Whether it reached the end of the history. */
  readonly isLast: boolean;
  /** Whether its reader claimed to be further than the history: a moment later, another reader may be right. */
  readonly isAhead: boolean;
}

/** Reads histories for the clients of this node. Clients that request the same at the same time share one read and one encoding. */
export class HistoryReads {
  /** Encoded messages that several clients get. */
  readonly replays = new Replays();
  private readonly inFlight = new Map<string, Promise<HistoryPage>>();
  private kept = new Map<string, HistoryPage>();
  private bytes = 0;

  /** A page that was recently read for another client. */
  known(key: string): HistoryPage | undefined {
    return this.kept.get(key);
  }

  /** @param isKept - whether it stays valid when more is appended */
  async read(key: string, isKept: boolean, read: () => Promise<HistoryPage>): Promise<HistoryPage> {
    const asked = this.inFlight.get(key);
    if (asked !== undefined) {
      const found = await asked;
      return found.isAhead ? read() : found;
    }
    const page = read().then((found) => {
      if (isKept && !found.isAhead) this.keep(key, found);
      return found;
    });
    this.inFlight.set(key, page);
    const forget = (): void => void this.inFlight.delete(key);
    page.then(forget, forget);
    return page;
  }

  /** Forgets the kept pages, since no more clients come. */
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
