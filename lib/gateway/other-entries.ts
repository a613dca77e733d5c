import { ENTRY_BYTES } from '../core/memory-log.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { ReadPart, WireEntry } from './recovery-wire.js';

/** Collects the parts of one log of another node. It keeps only the latest entries, no more than this node's own log would. */
export class OtherEntries {
  private entries: WireEntry[] = [];
  private first = 0;
  private bytes = 0;
  private total = 0;
  private start: number;
  private last: number;

  /** @param maxBytes - the size limit */
  constructor(
    part: ReadPart,
    private readonly maxBytes: number,
  ) {
    this.start = this.last = part.after;
    this.add(part);
  }

  /** The offset before the first {@link kept} entry. */
  get after(): number {
    return this.start;
  }

  /** The end of the other log so far. */
  get end(): number {
    return this.last;
  }

  get kept(): readonly WireEntry[] {
    return this.entries.slice(this.first);
  }

  /** @throws InvalidMessageError if the part does not continue the previous one, or is longer than a node can have kept */
  add({ after, entries, hasMore }: ReadPart): void {
    // The other node has forgotten some entries meanwhile, so earlier ones are of no use.
    if (after > this.last) {
      [this.entries, this.first, this.bytes] = [[], 0, 0];
      this.start = this.last = after;
    }
    if (hasMore && entries.length === 0)
      throw new InvalidMessageError('an answer says that there is more, and nothing else');
    for (const entry of entries) {
      if (entry[0] <= this.last) throw new InvalidMessageError('the offsets of an answer do not rise');
      this.last = entry[0];
      const bytes = bytesOf(entry);
      this.bytes += bytes;
      this.total += bytes;
      this.entries.push(entry);
    }
    while (this.bytes > this.maxBytes && this.first < this.entries.length) {
      const dropped = this.entries[this.first++]!;
      this.bytes -= bytesOf(dropped);
      this.start = dropped[0];
    }
    // More has arrived there meanwhile than was there before.
    if (hasMore && this.total > 2 * this.maxBytes) {
      throw new InvalidMessageError('another server has more to answer than it can have kept');
    }
  }
}

function bytesOf(entry: WireEntry): number {
  return ENTRY_BYTES + (entry.length === 3 ? entry[1].length : 0);
}
