import { filter, firstValueFrom, timeout } from 'rxjs';
import type { Hub } from '../core/hub.js';
import type { MemoryLog } from '../core/memory-log.js';
import { isOwedAll, missedSince } from '../core/recovery.js';
import type { Admissions } from './admission.js';
import { whenCaughtUp, whenSettled } from './caught-up.js';
import type { ChannelFeed } from './channel-feed.js';
import type { ChannelFeeds } from './channel-feeds.js';
import { admissionFor } from './claim.js';
import { textOf, type ClientEntry } from './client-message.js';
import { OwedAnswers } from './owed-answers.js';
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

/** The size of the frame around an answer, and around a read under one name. */
const FRAME_BYTES = 100;
/** How long this node may take to hear the broker again before it refuses to answer. */
const REGISTERED_MS = 4_000;
/** How long it may take to read missed messages of histories. */
const WHOLE_MS = 4_000;

/** The remaining size of an answer, in bytes. */
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
  readonly owed = new OwedAnswers();
  /** Resolves when the previous answers are complete: one at a time, so that the event loop keeps turning. */
  private making: Promise<unknown> = Promise.resolve();

  /**
   * @param maxBytes - how long an answer may be
   * @param asked - called for each question, with the connections whose clients are now elsewhere
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
    const answered = this.owed.begin();
    let isWhole = false;
    try {
      this.asked([...question.from, ...this.nativesOf(question.claims)]);
      const answer = await this.answerNow(question);
      isWhole = isWholeAnswer(answer, question);
      return answer;
    } finally {
      answered(isWhole);
    }
  }

  private async answerNow(question: RecoveryQuestion): Promise<RecoveryAnswer> {
    // Otherwise this node's latest losses would not be in the logs yet.
    await firstValueFrom(
      this.hub.status.pipe(
        filter(({ state }) => state === 'ready'),
        timeout(REGISTERED_MS),
      ),
    );
    await Promise.all(question.reads.map(async ([name]) => this.feeds.get(name)?.ready));
    // The question may have arrived before messages that the asking node has already heard or read.
    await whenCaughtUp(this.hub, question, WHOLE_MS);
    const answer = this.making.then(() => this.make(question));
    this.making = answer.catch(() => {});
    await answer;
    await whenSettled(this.hub);
    return answer;
  }

  /** Native streams name no connection; their proof identifies them just as well. */
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
    /** The names with valid claims. */
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
      // The missed messages need not be looked at.
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
   * As many entries as fit, at least one; the vector follows the last entry.
   *
   * @returns `undefined` if not even one fits; it always fits into an answer of its own
   */
  private read({ log }: ChannelFeed, offset: number, room: Room): ReadPart | undefined {
    if (!room.take(FRAME_BYTES)) return undefined;
    const after = Math.min(Math.max(offset, log.forgottenOffset), log.lastOffset);
    const read = log.read({ epoch: log.epoch, offset: after }, { maxBytes: room.left });
    const all = read.found ? read.entries : [];
    const entries: WireEntry[] = [];
    for (const entry of all) {
      let wire = wireEntry(entry);
      // An entry that fits into no answer is reported as missing.
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

/** Whether nothing that was asked for is left. */
function isWholeAnswer({ verdicts, reads }: RecoveryAnswer, question: RecoveryQuestion): boolean {
  const isComplete = verdicts.length === question.claims.length && reads.length === question.reads.length;
  return isComplete && !reads.some((part) => part?.hasMore === true);
}

function writeVector(log: MemoryLog<unknown>, maxBytes: number): unknown[] | null {
  const rows = log.vector().toJSON();
  return lengthOf(rows) > maxBytes ? null : rows;
}

function wireEntry({ offset, item }: ClientEntry): WireEntry {
  return item.kind === 'gap' ? [offset, item.reason] : [offset, textOf(item.body, offset), item.body.head];
}
