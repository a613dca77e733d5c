import { filter, firstValueFrom, timeout } from 'rxjs';
import type { Hub } from '../core/hub.js';
import type { MemoryLog } from '../core/memory-log.js';
import { isOwedAll, missedSince } from '../core/recovery.js';
import type { Admissions } from './admission.js';
import { whenCaughtUp } from './caught-up.js';
import type { ChannelFeed } from './channel-feed.js';
import type { ChannelFeeds } from './channel-feeds.js';
import { admissionFor } from './claim.js';
import { textOf, type ClientEntry } from './client-message.js';
import {
  lengthOf,
  readRecoveryQuestion,
  type NamedClaim,
  type ReadPart,
  type Returned,
  type RecoveryAnswer,
  type RecoveryQuestion,
  type Verdict,
  type WireEntry,
} from './recovery-wire.js';
import { Slices } from './slices.js';

/** What the frame of an answer takes, and that of what is read under one name. */
const FRAME_BYTES = 100;
/** Until then this node must be heard again itself, or others do without it. */
const REGISTERED_MS = 4_000;
/** Until then it must have read what it has missed of histories. */
const WHOLE_MS = 4_000;

/** How much of an answer is left, in bytes. */
class Room {
  constructor(public left: number) {}

  /** @returns whether there was room for it */
  take(bytes: number): boolean {
    if (bytes > this.left) return false;
    this.left -= bytes;
    return true;
  }
}

/** Answers other nodes about clients that were here before. */
export class RecoveryAnswers {
  /** Resolves when the answers before are made: one at a time, so that all of them together leave the loop its turns. */
  private making: Promise<unknown> = Promise.resolve();

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
   * @throws InvalidMessageError (rejects) if it is not a valid question
   * @throws (rejects) if this node is cut off from the broker itself
   */
  async answer(value: unknown): Promise<RecoveryAnswer> {
    const question = readRecoveryQuestion(value);
    this.asked([...question.from, ...this.nativesOf(question.claims)]);
    // Or losses would not be in the logs yet that this node has just had.
    await firstValueFrom(
      this.hub.status.pipe(
        filter(({ state }) => state === 'ready'),
        timeout(REGISTERED_MS),
      ),
    );
    await Promise.all(question.reads.map(async ([name]) => this.feeds.get(name)?.ready));
    // The question may have overtaken what the node that asks has heard, or has read of histories.
    await whenCaughtUp(this.hub, question, WHOLE_MS);
    const answer = this.making.then(() => this.make(question));
    this.making = answer.catch(() => {});
    return answer;
  }

  /** Native streams name no connection: what they prove to have read is as good. */
  private nativesOf(claims: readonly NamedClaim[]): Returned[] {
    const owners = new Map(claims.map(({ proof, owner }) => [proof, owner]));
    return [...owners].flatMap(([proof, owner]): Returned[] => {
      const stream = typeof proof === 'string' ? undefined : proof.streamOn(owner, this.admissions);
      return stream === undefined ? [] : [[stream, owner]];
    });
  }

  private async make({ claims, granted, reads }: RecoveryQuestion): Promise<RecoveryAnswer> {
    const room = new Room(this.maxBytes - FRAME_BYTES);
    const verdicts: Verdict[] = [];
    const parts: (ReadPart | null)[] = [];
    /** Of the claims that hold. */
    const names = new Set<string>();
    const slices = new Slices();
    for (const claim of claims) {
      const verdict = this.judge(claim);
      if (!room.take(lengthOf(verdict))) return { verdicts, reads: [] };
      verdicts.push(verdict);
      if (typeof verdict !== 'string') names.add(claim.name);
      if (slices.isOver) await slices.next();
    }
    for (const claim of granted) {
      if (typeof this.judge(claim) !== 'string') names.add(claim.name);
      if (slices.isOver) await slices.next();
    }
    for (const [name, after] of reads) {
      const feed = names.has(name) ? this.feeds.get(name) : undefined;
      const part = feed === undefined ? null : this.read(feed, after, room);
      if (part === undefined || (part === null && !room.take(lengthOf(null)))) break;
      parts.push(part);
      if (slices.isOver) await slices.next();
    }
    return { verdicts, reads: parts };
  }

  /** Never longer than a quarter of an answer. */
  private judge(claim: NamedClaim): Verdict {
    const { name, owner, offset } = claim;
    const feed = this.feeds.get(name);
    if (feed === undefined) return 'epoch';
    const { log, cuts } = feed;
    const admission = admissionFor(name, owner, claim, this.admissions);
    if (isOwedAll(log, admission, offset)) {
      // No need to look at what it has missed.
      if (offset < log.forgottenOffset) return 'trimmed';
      return offset > log.lastOffset ? 'epoch' : [];
    }
    const missed = missedSince(log, cuts, admission, offset, {});
    if (!missed.found) return missed.reason;
    const owed = new Set(missed.entries.map((entry) => entry.offset));
    const read = log.read({ epoch: log.epoch, offset });
    if (!read.found) return 'trimmed';
    const except = read.entries.map((entry) => entry.offset).filter((each) => !owed.has(each));
    return lengthOf(except) > this.maxBytes / 4 ? 'trimmed' : except;
  }

  /**
   * As many entries as there is room for, at least one; behind the last one the vector.
   *
   * @returns nothing if there is not even room for that, which there is in an answer of its own
   */
  private read({ log }: ChannelFeed, offset: number, room: Room): ReadPart | undefined {
    if (!room.take(FRAME_BYTES)) return undefined;
    const after = Math.min(Math.max(offset, log.forgottenOffset), log.lastOffset);
    const read = log.read({ epoch: log.epoch, offset: after }, { maxBytes: room.left });
    const all = read.found ? read.entries : [];
    const entries: WireEntry[] = [];
    for (const entry of all) {
      let wire = wireEntry(entry);
      // One that no answer has room for is missing there.
      if (lengthOf(wire) > this.maxBytes - 2 * FRAME_BYTES) wire = [entry.offset, 'trimmed'];
      if (!room.take(lengthOf(wire))) break;
      entries.push(wire);
    }
    if ((entries.at(-1)?.[0] ?? after) === log.lastOffset) {
      const vector = writeVector(log, this.maxBytes / 2);
      if (room.take(lengthOf(vector))) return { after, entries, vector, hasMore: false };
    }
    return entries.length === 0 ? undefined : { after, entries, vector: null, hasMore: true };
  }
}

function writeVector(log: MemoryLog<unknown>, maxBytes: number): unknown[] | null {
  const rows = log.vector().toJSON();
  return lengthOf(rows) > maxBytes ? null : rows;
}

function wireEntry({ offset, item }: ClientEntry): WireEntry {
  return item.kind === 'gap' ? [offset, item.reason] : [offset, textOf(item.body, offset), item.body.head];
}
