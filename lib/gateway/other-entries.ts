import { ENTRY_BYTES } from '../core/memory-log.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { ReadPart, WireEntry } from './recovery-wire.js';

/** What another node answers of one log, part by part: no more of it than this node would keep itself, the latest. */
export class OtherEntries {
  private entries: WireEntry[] = [];
  private first = 0;
  private bytes = 0;
  private total = 0;
  private start: number;
  private last: number;

  /** @param maxBytes - what is kept of it */
  constructor(
    part: ReadPart,
    private readonly maxBytes: number,
  ) {
    this.start = this.last = part.after;
    this.add(part);
  }

  /** All after it is {@link kept}. */
  get after(): number {
    return this.start;
  }

  /** How far it has come. */
  get end(): number {
    return this.last;
  }

  get kept(): readonly WireEntry[] {
    return this.entries.slice(this.first);
  }

  /** @throws InvalidMessageError for what does not go on from where it was, and for more than a node can have kept */
  add({ after, entries, hasMore }: ReadPart): void {
    // Some of it has been forgotten there meanwhile: what is before that is of no use.
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
    // What came there meanwhile is more than what was there.
    if (hasMore && this.total > 2 * this.maxBytes) {
      throw new InvalidMessageError('another server has more to answer than it can have kept');
    }
  }
}

function bytesOf(entry: WireEntry): number {
  return ENTRY_BYTES + (entry.length === 3 ? entry[1].length : 0);
}
