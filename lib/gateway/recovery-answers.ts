import { filter, firstValueFrom, timeout } from 'rxjs';
import type { Hub } from '../core/hub.js';
import type { MemoryLog } from '../core/memory-log.js';
import { missedSince } from '../core/recovery.js';
import type { Admissions } from './admission.js';
import type { ChannelFeed } from './channel-feed.js';
import type { ChannelFeeds } from './channel-feeds.js';
import { admissionFor } from './claim.js';
import { textOf, type ClientEntry } from './client-message.js';
import {
  readRecoveryQuestion,
  type NamedClaim,
  type ReadPart,
  type Returned,
  type RecoveryAnswer,
  type Verdict,
  type WireEntry,
} from './recovery-wire.js';

/** What an entry takes beside its text. */
const ENTRY_BYTES = 30;
/** Until then this node must be heard again itself, or others do without it. */
const REGISTERED_MS = 4_000;

/** Answers other nodes about clients that were here before. */
export class RecoveryAnswers {
  /**
   * @param maxBytes - how long an answer may be
   * @param asked - told of each question, with the connections whose clients are elsewhere now
   */
  constructor(
    private readonly hub: Hub,
    private readonly feeds: ChannelFeeds,
    private readonly admissions: Admissions,
    private readonly maxBytes: number,
    private readonly asked: (connections: readonly Returned[]) => void,
  ) {}

  /**
   * @throws InvalidMessageError (rejects) for what is no question
   * @throws (rejects) if this node is cut off from the broker itself
   */
  async answer(value: unknown): Promise<RecoveryAnswer> {
    const { from, reads, claims } = readRecoveryQuestion(value);
    this.asked(from);
    // Or losses would not be in the logs yet that this node has just had.
    await firstValueFrom(
      this.hub.status.pipe(
        filter(({ state }) => state === 'ready'),
        timeout(REGISTERED_MS),
      ),
    );
    await Promise.all(reads.map(async ([name]) => this.feeds.get(name)?.ready));
    let left = this.maxBytes;
    return {
      verdicts: claims.map((claim) => this.judge(claim)),
      reads: reads.map(([name, after]) => {
        const feed = this.feeds.get(name);
        if (feed === undefined) return null;
        const { part, bytes } = readPart(feed, after, left, this.maxBytes);
        left -= bytes;
        return part;
      }),
    };
  }

  private judge(claim: NamedClaim): Verdict {
    const { name, owner, offset } = claim;
    const feed = this.feeds.get(name);
    if (feed === undefined) return 'epoch';
    const { log, cuts } = feed;
    const admission = admissionFor(name, owner, claim, this.admissions);
    if (admission?.log === log.number && admission.cut === undefined && offset >= admission.admitted) {
      // No need to look at what it has missed.
      if (offset < log.forgottenOffset) return 'trimmed';
      return offset > log.lastOffset ? 'epoch' : [];
    }
    const missed = missedSince(log, cuts, admission, offset, {});
    if (!missed.found) return missed.reason;
    const owed = new Set(missed.entries.map((entry) => entry.offset));
    const read = log.read({ epoch: log.epoch, offset });
    return read.found ? read.entries.map((entry) => entry.offset).filter((each) => !owed.has(each)) : 'trimmed';
  }
}

/**
 * @param room - how much of the answer is left
 * @param maxBytes - how long an answer may be
 */
function readPart(
  { log }: ChannelFeed,
  offset: number,
  room: number,
  maxBytes: number,
): { part: ReadPart; bytes: number } {
  const after = Math.min(Math.max(offset, log.forgottenOffset), log.lastOffset);
  const read = log.read({ epoch: log.epoch, offset: after });
  const all = read.found ? read.entries : [];
  const vector = writeVector(log, maxBytes / 2);
  const vectorBytes = vector === null ? 0 : sizeOf(vector);
  const entries: WireEntry[] = [];
  let bytes = vectorBytes;
  for (const entry of all) {
    let wire = wireEntry(entry);
    // One that no answer has room for is missing there.
    if (sizeOf(wire) > maxBytes - vectorBytes) wire = [entry.offset, 'trimmed'];
    const size = sizeOf(wire);
    if (bytes + size > room) break;
    bytes += size;
    entries.push(wire);
  }
  const hasMore = entries.length < all.length;
  return { part: { after, entries, vector: hasMore ? null : vector, hasMore }, bytes };
}

function writeVector(log: MemoryLog<unknown>, maxBytes: number): unknown[] | null {
  const rows = log.vector()?.toJSON() ?? null;
  return rows === null || sizeOf(rows) > maxBytes ? null : rows;
}

function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value)) + ENTRY_BYTES;
}

function wireEntry({ offset, item }: ClientEntry): WireEntry {
  return item.kind === 'gap' ? [offset, item.reason] : [offset, textOf(item.body, offset), item.body.head];
}
