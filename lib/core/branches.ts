import type { Position } from '../protocol/position.js';
import type { ReadBounds } from './channel-log.js';
import { BEGINNING, type HistoryRead, type HistoryStore } from './history-store.js';
import { forgetFirst } from './keep-last.js';

/** How many channels are remembered whose history had several epochs. Beyond that, the oldest are forgotten. */
const MAX_CHANNELS = 100_000;
/** How many epochs are remembered of each, and how many earlier ones of each of those. */
const MAX_EPOCHS = 8;
/** How many times a page is read anew at most. */
const MAX_READS = 5;

/** Where the epochs of one history branched off: for each epoch the ends of those before it, the latest first. */
type Epochs = Map<string, readonly Position[]>;

/**
 * Reads histories, and remembers where their epochs branched off. A store may forget an epoch: its successor was made from an earlier copy.
 * A reader in that epoch goes on where the branch began, in the latest epoch before it that the store knows.
 */
export class Branches {
  private readonly channels = new Map<string, Epochs>();

  constructor(private readonly store: Pick<HistoryStore, 'read'>) {}

  /** See {@link HistoryStore.read}. After a position of a forgotten epoch, what the reader already has is not among the entries. */
  read(channel: string, after: Position | number, bounds?: ReadBounds): Promise<HistoryRead> {
    return this.readIn(channel, after, bounds, MAX_READS);
  }

  /** Whether a position, and another one of a later epoch, are known to come after the same messages up to the offset of the latter. */
  areOne(channel: string, position: Position, later: Position): boolean {
    const ends = [later, ...this.before(channel, later)];
    return this.before(channel, position).some(
      ({ epoch, offset }) =>
        later.offset <= offset && ends.some((end) => end.epoch === epoch && end.offset === later.offset),
    );
  }

  /** @param left - how many times it is read, since the history may be replaced between two questions */
  private async readIn(
    channel: string,
    after: Position | number,
    bounds: ReadBounds | undefined,
    left: number,
  ): Promise<HistoryRead> {
    const page = await this.readOnce(channel, after, bounds);
    if (typeof after === 'number' || page.gap !== 'epoch' || page.end.epoch === BEGINNING.epoch) return page;
    for (const place of this.before(channel, after)) {
      const known = await this.readOnce(channel, place, bounds);
      // A position that is ahead of its own epoch says nothing either.
      if (known.gap !== 'epoch' && known.gap !== 'future') return { ...known, gap: 'epoch' };
      if (known.next.epoch !== page.next.epoch && left > 1) return this.readIn(channel, after, bounds, left - 1);
    }
    return page;
  }

  /** The same place in earlier epochs, or where those ended before it; the latest epoch first. */
  private before(channel: string, { epoch, offset }: Position): Position[] {
    const ends = this.channels.get(channel)?.get(epoch) ?? [];
    return ends.map((end) => ({ epoch: end.epoch, offset: Math.min(offset, end.offset) }));
  }

  private async readOnce(channel: string, after: Position | number, bounds?: ReadBounds): Promise<HistoryRead> {
    const page = await this.store.read(channel, after, bounds);
    if (typeof after === 'number' || after.epoch !== page.next.epoch) this.learn(channel, after, page);
    return page;
  }

  /** @param after - not of the epoch of the page */
  private learn(channel: string, after: Position | number, { gap, entries, next, former }: HistoryRead): void {
    const { channels } = this;
    const known = channels.get(channel);
    if (known?.has(next.epoch) === true) return;
    let ends = former;
    // A store that does not tell: up to its first entry, the epochs are one.
    if (ends === undefined && gap === undefined && typeof after === 'object' && after.epoch !== BEGINNING.epoch) {
      const end = { epoch: after.epoch, offset: next.offset - entries.length };
      ends = [end, ...this.before(channel, end)];
    }
    if (ends === undefined || ends.length === 0) return;
    const epochs: Epochs = known ?? new Map();
    epochs.set(next.epoch, ends.slice(0, MAX_EPOCHS));
    channels.set(channel, epochs);
    forgetFirst(epochs, MAX_EPOCHS);
    forgetFirst(channels, MAX_CHANNELS);
  }
}
