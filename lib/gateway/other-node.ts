import { setImmediate as nextTurn } from 'node:timers/promises';
import { Cut } from '../core/cut.js';
import { SerialVector } from '../core/serial-vector.js';
import { isTemplate } from '../protocol/channel-name.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { GapReason } from '../protocol/position.js';
import type { ChannelFeed } from './channel-feed.js';
import type { ClientEntry } from './client-message.js';
import { Inquiry } from './inquiry.js';
import { OtherEntries } from './other-entries.js';
import {
  MAX_ASKED,
  lengthOf,
  lengthOfClaim,
  readEntry,
  type NamedClaim,
  type ReadPart,
  type RecoveryAnswer,
  type RecoveryQuestion,
  type WireEntry,
} from './recovery-wire.js';
import type { Entering, OtherLog } from './resume.js';

/** How long clients that come later may reuse an answer. */
const SHARED_MS = 2_000;
/** How long to collect more clients while an answer is under way. */
const GATHER_MS = 20;
/** How many entries of answers are read in one turn of the event loop: a few milliseconds of work. */
const READ_AT_ONCE = 1_000;
/** The size limit of a question with more than one client. */
const MAX_QUESTION_BYTES = 200_000;
/** How long one log may be read. */
const MAX_READ_MS = 10_000;

/** The result of another node for a client. */
export type FromOtherNode =
  { readonly log: OtherLog; readonly except: ReadonlySet<number> } | { readonly reason: GapReason };

/** A connection to another node. */
export interface WayToNode {
  /**
   * @param sending - called before each try, when this node hears everything
   * @param leftAt - when the last of the clients left that node, or later; by `performance.now()`
   * @throws (rejects) with errors that {@link reasonOf} accepts
   */
  ask(question: RecoveryQuestion, sending: () => void, leftAt: number): Promise<RecoveryAnswer>;
  /** The gap reason for clients if a question, or reading its answer, fails with this error. Never rejects. */
  reasonOf(error: unknown): Promise<GapReason>;
}

/** A read of one log of the other node, shared by all clients that need it. */
interface SharedRead {
  readonly after: number;
  /** The end of this node's log when the question was asked, or before. */
  readonly from: number;
  /** The end of the other log, once it is known. */
  end: number;
  readonly result: Promise<OtherLog | undefined>;
  /** The inquiry that it belongs to. */
  readonly inquiry: Inquiry;
}

/** A client that waits for the other node. */
interface Waiting {
  readonly entering: Entering;
  /** Its connection on that node. */
  readonly from: string | undefined;
  readonly leftAt: number;
  /** Whether it must ask for itself, because the answer to others was of no use to it. */
  readonly isOwn: boolean;
  readonly resolve: (result: FromOtherNode) => void;
}

/**
 * Gets what clients need from one other node that they come from. Clients that come in the same turn share one question, and each log is
 * read once for all clients that come within a while.
 */
export class OtherNode {
  private waiting: Waiting[] = [];
  /** Reads that others may reuse: for each log, the widest one first, then the following ones. */
  private readonly reads = new Map<ChannelFeed, SharedRead[]>();
  private pending = 0;
  /** Resolves when all answers so far have been read. */
  private reading: Promise<void> = Promise.resolve();
  private readInTurn = 0;
  private asking = 0;
  private readonly queue: (() => void)[] = [];
  /** The gap reasons of failures. */
  private readonly reasons = new WeakMap<object, Promise<GapReason>>();

  /**
   * @param hereId - this node
   * @param idle - called when nothing about the node is kept any more
   * @param maxAsked - how many questions may be under way at a time: each answer may be as long as a message may be
   */
  constructor(
    private readonly hereId: string,
    private readonly way: WayToNode,
    private readonly idle: () => void,
    private readonly maxAsked: number,
  ) {}

  /**
   * Never rejects.
   *
   * @param from - the client's connection on that node
   * @param leftAt - when the client left that node, or later; by `performance.now()`
   */
  recover(
    entering: Entering,
    from: string | undefined,
    leftAt = performance.now(),
    isOwn = false,
  ): Promise<FromOtherNode> {
    return new Promise((resolve) => {
      if (this.waiting.length === 0) this.askSoon();
      this.waiting.push({ entering, from, leftAt, isOwn, resolve });
    });
  }

  /** Asks together with others that come until then; while an answer is under way, it waits longer for more. */
  private askSoon(): void {
    const ask = (): void => {
      // In its turn, and for all that come until then: a slow node would get ever more small questions, and the last clients would wait for
      // the answers to all of them.
      if (this.asking < this.maxAsked) this.askForAll();
      else {
        this.queue.push(() => {
          this.asking--;
          this.askForAll();
        });
      }
    };
    if (this.pending === 0) setImmediate(ask);
    else setTimeout(ask, GATHER_MS);
  }

  private askForAll(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const some of questionsOf(waiting)) void this.askFor(some);
  }

  private async askFor(waiting: readonly Waiting[]): Promise<void> {
    this.pending++;
    const needed = this.neededReads(waiting);
    const asked = new Map<string, number>();
    const leftAt = Math.max(...waiting.map((each) => each.leftAt));
    const inquiry = new Inquiry((question) => this.askNoting(question, [...needed.keys()], asked, leftAt), {
      from: [...new Map(waiting.flatMap(({ from, entering }) => (from === undefined ? [] : [[from, entering.owner]])))],
      reads: [...needed].map(([feed, { after }]) => [feed.name, after] as const),
      claims: waiting.map(({ entering }) => claimOf(entering)),
    });
    [...needed].forEach(([feed, { after, from }], index) => {
      const result = inquiry
        .part(index)
        .then((part) => this.follow(feed, [from, asked.get(feed.name)], part, inquiry.grantOf(feed.name)));
      // Each waiting client gets the failure.
      result.catch(() => {});
      this.share(feed, { after, from, end: Infinity, result, inquiry });
    });
    const sources = waiting.map((each) => this.knownFor(each) ?? this.reads.get(each.entering.feed)!.at(-1)!);
    await inquiry.run();
    await Promise.all(
      waiting.map(async ({ entering, resolve }, index) =>
        resolve(await this.resultOf(inquiry, index, sources[index]!, entering)),
      ),
    );
    this.pending--;
    this.noteIdle();
  }

  /** Never rejects. @param index - of the claim */
  private async resultOf(
    inquiry: Inquiry,
    index: number,
    source: SharedRead,
    entering: Entering,
  ): Promise<FromOtherNode> {
    try {
      const verdict = await inquiry.verdict(index);
      if (typeof verdict === 'string') return { reason: verdict };
      const log = await source.result;
      if (log !== undefined && entering.claim!.offset <= log.end) return { log, except: new Set(verdict) };
      // An answer for others is of no use if their claims were not valid, or if this client has read on there meanwhile.
      return source.inquiry === inquiry
        ? { reason: 'epoch' }
        : await this.recover(entering, undefined, undefined, true);
    } catch (error) {
      return { reason: await this.reasonOf(error as Error) };
    }
  }

  /** Determined once for all clients that the failure affects. */
  private reasonOf(error: Error): Promise<GapReason> {
    let reason = this.reasons.get(error);
    if (reason === undefined) this.reasons.set(error, (reason = this.way.reasonOf(error)));
    return reason;
  }

  /** The reads that are needed, besides those that are under way or still available. */
  private neededReads(waiting: readonly Waiting[]): Map<ChannelFeed, { after: number; from: number }> {
    const needed = new Map<ChannelFeed, { after: number; from: number }>();
    for (const each of waiting) {
      if (this.knownFor(each) !== undefined) continue;
      const { feed, joined, claim } = each.entering;
      const known = each.isOwn ? [] : (this.reads.get(feed) ?? []);
      // Reads all of it, so that nobody can force repeated reads by asking from ever earlier offsets.
      const start = known.some(({ after }) => after > claim!.offset) ? 0 : claim!.offset;
      const { after = start, from = joined } = needed.get(feed) ?? {};
      needed.set(feed, { after: Math.min(after, start), from: Math.min(from, joined) });
    }
    return needed;
  }

  /** An existing read that covers this client's needs. */
  private knownFor({ entering: { feed, joined, claim }, isOwn }: Waiting): SharedRead | undefined {
    if (isOwn) return undefined;
    const { offset } = claim!;
    return this.reads.get(feed)?.find(({ after, end, from }) => after <= offset && offset <= end && from <= joined);
  }

  private share(feed: ChannelFeed, read: SharedRead): void {
    const all = this.reads.get(feed) ?? [];
    this.reads.set(feed, [...all, read]);
    const forget = (): void => {
      const left = (this.reads.get(feed) ?? []).filter((each) => each !== read);
      if (left.length === 0) this.reads.delete(feed);
      else this.reads.set(feed, left);
      this.noteIdle();
    };
    read.result.then((log) => {
      // A client with an invalid claim takes nothing from others.
      if (log === undefined) return forget();
      read.end = log.end;
      setTimeout(forget, SHARED_MS).unref();
      return undefined;
    }, forget);
  }

  /** @param asked - receives the ends of this node's logs when the first question about them was sent */
  private async askNoting(
    question: RecoveryQuestion,
    feeds: readonly ChannelFeed[],
    asked: Map<string, number>,
    leftAt: number,
  ): Promise<RecoveryAnswer> {
    let sent: readonly number[] = [];
    const answer = await this.ask(question, () => (sent = feeds.map(({ log }) => log.lastOffset)), leftAt);
    const answered = new Set(question.reads.slice(0, answer.reads.length).map(([name]) => name));
    for (const [index, { name }] of feeds.entries()) {
      if (answered.has(name) && !asked.has(name)) asked.set(name, sent[index]!);
    }
    return answer;
  }

  /** Waits for its turn; if the node does not answer, all run at once, so that nobody queues for a lost node. */
  private async ask(
    question: RecoveryQuestion,
    sending: () => void = () => {},
    leftAt = performance.now(),
  ): Promise<RecoveryAnswer> {
    if (this.asking < this.maxAsked) this.asking++;
    else await new Promise<void>((resolve) => this.queue.push(resolve));
    try {
      return await this.way.ask(question, sending, leftAt);
    } catch (error) {
      this.asking += this.queue.length;
      for (const go of this.queue.splice(0)) go();
      throw error;
    } finally {
      const next = this.queue.shift();
      if (next === undefined) this.asking--;
      else next();
    }
  }

  /**
   * Asks until there is no more, or no client waits any more.
   *
   * @param granted - the claims that permit it
   * @returns `undefined` if the other node has no such log
   */
  private async follow(
    feed: ChannelFeed,
    [from, asked]: readonly [from: number, asked: number | undefined],
    first: ReadPart | null,
    granted: readonly NamedClaim[],
  ): Promise<OtherLog | undefined> {
    if (first === null) return undefined;
    const { name, log } = feed;
    const entries = new OtherEntries(first, log.maxBytes);
    const until = performance.now() + MAX_READ_MS;
    let part = first;
    while (part.hasMore) {
      if (!feed.isUsed) return undefined;
      if (performance.now() > until)
        throw new InvalidMessageError(`another server goes on answering for ${name} without end`);
      const { reads } = await this.ask({ from: [], reads: [[name, entries.end]], claims: [], granted });
      if (reads[0] == null) return undefined;
      [part] = reads;
      entries.add(part);
    }
    const vector = part.vector === null ? undefined : SerialVector.read(part.vector, 'a vector', isTemplate(name));
    const cut = new Cut(this.hereId, from, log.lastOffset, vector, asked);
    const { after, end } = entries;
    return { after, end, entries: await this.readLater(entries.kept, name), cut };
  }

  /** Reads answers one after the other, in portions, so that no turn of the event loop takes long. */
  private readLater(entries: readonly WireEntry[], name: string): Promise<ClientEntry[]> {
    const result = this.reading.then(() => this.readEntries(entries, name));
    this.reading = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  private async readEntries(entries: readonly WireEntry[], name: string): Promise<ClientEntry[]> {
    const read: ClientEntry[] = [];
    for (const entry of entries) {
      read.push(readEntry(entry, name));
      if (++this.readInTurn < READ_AT_ONCE) continue;
      this.readInTurn = 0;
      await nextTurn();
    }
    return read;
  }

  private noteIdle(): void {
    if (this.pending === 0 && this.reads.size === 0 && this.waiting.length === 0) this.idle();
  }
}

function claimOf({ feed: { name }, claim, owner }: Entering): NamedClaim {
  const { offset, proof } = claim!;
  return { name, offset, proof, owner };
}

/** Splits the waiting clients into as many questions as necessary. */
function questionsOf(waiting: readonly Waiting[]): Waiting[][] {
  const questions: Waiting[][] = [];
  let last: Waiting[] = [];
  let proofs = new Set<unknown>();
  let bytes = Infinity;
  for (const each of waiting) {
    const claim = claimOf(each.entering);
    const { name, offset, proof, owner } = claim;
    const length = lengthOf([name, offset]) + lengthOf([each.from ?? '', owner]);
    let added = length + lengthOfClaim(claim, !proofs.has(proof));
    if (bytes + added > MAX_QUESTION_BYTES || last.length === MAX_ASKED) {
      questions.push((last = []));
      [proofs, bytes, added] = [new Set(), 0, length + lengthOfClaim(claim, true)];
    }
    bytes += added;
    proofs.add(proof);
    last.push(each);
  }
  return questions;
}
