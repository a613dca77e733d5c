import type { Position } from '../protocol/position.js';
import type { ReadBounds } from './channel-log.js';
import type {
  AppendOutcome,
  HistoryBounds,
  HistoryPost,
  HistoryRead,
  HistoryStore,
  HistoryTime,
} from './history-store.js';
import type { MemoryHistories } from './memory-histories.js';

/** The histories of an application without other servers. It sends nothing to anybody, because the posting server delivers. */
export class LocalHistoryStore implements HistoryStore {
  /** The store itself, so that it can stand in for `Histories`. */
  readonly store: HistoryStore = this;

  constructor(private readonly histories: MemoryHistories) {}

  append(channel: string, post: HistoryPost, bounds: HistoryBounds): Promise<AppendOutcome> {
    return Promise.resolve(this.appendNow(channel, post, bounds));
  }

  /** See {@link MemoryHistories.append}. */
  appendNow(channel: string, post: HistoryPost, bounds: HistoryBounds): ReturnType<MemoryHistories['append']> {
    return this.histories.append(channel, post, bounds);
  }

  async read(channel: string, after: Position | number, page?: ReadBounds): Promise<HistoryRead> {
    return this.histories.read(channel, after, page);
  }

  async positions(channels: readonly string[], at?: HistoryTime): Promise<Position[]> {
    return channels.map((channel) => this.histories.position(channel, at));
  }

  /** Whether a channel is exactly at a position: appended messages are delivered at once. */
  hasHeard(channel: string, { epoch, offset }: Position): boolean {
    const position = this.histories.position(channel);
    return position.epoch === epoch && position.offset === offset;
  }

  close(): void {
    this.histories.clear();
  }
}
