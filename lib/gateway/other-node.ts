import { setImmediate as nextTurn } from 'node:timers/promises';
import { Cut } from '../core/cut.js';
import { SerialVector } from '../core/serial-vector.js';
import { isTemplate } from '../protocol/channel-name.js';
import type { GapReason } from '../protocol/position.js';
import type { ChannelFeed } from './channel-feed.js';
import type { ClientEntry } from './client-message.js';
import {
  readEntry,
  type ReadPart,
  type RecoveryAnswer,
  type RecoveryQuestion,
  type Returned,
  type Verdict,
  type WireEntry,
} from './recovery-wire.js';
import type { Entering, OtherLog } from './resume.js';

/** How long an answer is given to clients that come later, and then need not ask for it again. */
const SHARED_MS = 2_000;
/** How long those who come are gathered while an answer is on its way. */
const GATHER_MS = 20;
/** How many entries of answers are read in one turn of the loop: some milliseconds. */
const READ_AT_ONCE = 1_000;
/** About how many clients one question is, at about 200 bytes each, so that it is never too long for a message. */
const MAX_CLAIMS = 1_000;

/** What another node has answered about a client. */
export type FromOtherNode =
  { readonly log: OtherLog; readonly except: ReadonlySet<number> } | { readonly reason: GapReason };

/** How another node is asked. */
export interface WayToNode {
  /** @throws (rejects) what {@link reasonOf} takes */
  ask(question: RecoveryQuestion): Promise<RecoveryAnswer>;
  /** The reason of the gap that clients have if asking, or reading what was answered, fails with this. Never rejects. */
  reasonOf(error: unknown): Promise<GapReason>;
}

/** What is read of one log of the other node, for all clients that need it. */
interface SharedRead {
  readonly after: number;
  /** How far this node's log had come when the question was asked, or before. */
  readonly from: number;
  /** How far the other log had come, once that is known. */
  end: number;
  readonly result: Promise<OtherLog | undefined>;
}

/** A client that waits for the other node. */
interface Waiting {
  readonly entering: Entering;
  readonly resolve: (result: FromOtherNode) => void;
}

/**
 * What clients need of one other node that they come from. Those that come in the same turn are asked about together, and what
 * came in a log is read once for all that come within a while.
 */
export class OtherNode {
  private waiting: Waiting[] = [];
  private from: Returned[] = [];
  private readonly reads = new Map<ChannelFeed, SharedRead>();
  private pending = 0;
  /** Resolves when what was answered until now has been read. */
  private reading: Promise<void> = Promise.resolve();
  private readInTurn = 0;

  /**
   * @param hereId - this node
   * @param idle - called when nothing is known of it any more
   */
  constructor(
    private readonly hereId: string,
    private readonly way: WayToNode,
    private readonly idle: () => void,
  ) {}

  /** Never rejects. @param from - the connection that the client had there */
  recover(entering: Entering, from: string | undefined): Promise<FromOtherNode> {
    return new Promise((resolve) => {
      if (this.waiting.length === 0) this.askSoon();
      this.waiting.push({ entering, resolve });
      if (from !== undefined && this.from.at(-1)?.[0] !== from) this.from.push([from, entering.owner]);
    });
  }

  /** With the others that come until then: while an answer is on its way, more of them. */
  private askSoon(): void {
    const ask = (): void => this.askForAll();
    if (this.pending === 0) setImmediate(ask);
    else setTimeout(ask, GATHER_MS);
  }

  private askForAll(): void {
    const { waiting, from } = this;
    this.waiting = [];
    this.from = [];
    for (let first = 0; first < waiting.length; first += MAX_CLAIMS) {
      void this.askFor(waiting.slice(first, first + MAX_CLAIMS), first === 0 ? from : []);
    }
  }

  private async askFor(waiting: readonly Waiting[], from: readonly Returned[]): Promise<void> {
    this.pending++;
    const claims = waiting.map(({ entering: { feed, claim, owner } }) => ({ name: feed.name, owner, ...claim! }));
    const needed = this.neededReads(waiting);
    const reads = [...needed].map(([feed, { after }]) => [feed.name, after] as const);
    const answer = this.way.ask({ from, reads, claims });
    [...needed].forEach(([feed, { after, from: begun }], index) => {
      const result = answer.then(({ reads: parts }) => this.follow(feed, begun, parts[index]!));
      // Whoever waits for it is told by the answer itself.
      result.catch(() => {});
      this.share(feed, { after, from: begun, end: Infinity, result });
    });
    const sources = waiting.map(({ entering: { feed } }) => this.reads.get(feed)!);
    try {
      const { verdicts } = await answer;
      await Promise.all(
        waiting.map(async ({ entering, resolve }, index) =>
          resolve(await this.resultOf(verdicts[index]!, sources[index]!, entering)),
        ),
      );
    } catch (error) {
      const reason = await this.way.reasonOf(error);
      for (const { resolve } of waiting) resolve({ reason });
    } finally {
      this.pending--;
      this.noteIdle();
    }
  }

  private async resultOf(verdict: Verdict, { result }: SharedRead, entering: Entering): Promise<FromOtherNode> {
    if (typeof verdict === 'string') return { reason: verdict };
    const log = await result;
    if (log === undefined) return { reason: 'epoch' };
    // What was asked for others while this one still read on there does not say what it has read.
    if (entering.claim!.offset > log.end) return this.recover(entering, undefined);
    return { log, except: new Set(verdict) };
  }

  /** What is to be read that is not being read, and does not wait here, already. */
  private neededReads(waiting: readonly Waiting[]): Map<ChannelFeed, { after: number; from: number }> {
    const needed = new Map<ChannelFeed, { after: number; from: number }>();
    for (const { entering } of waiting) {
      const { feed, joined, claim } = entering;
      const { offset } = claim!;
      const known = this.reads.get(feed);
      if (known !== undefined && known.after <= offset && offset <= known.end && known.from <= joined) continue;
      const { after = offset, from = joined } = needed.get(feed) ?? {};
      needed.set(feed, { after: Math.min(after, offset), from: Math.min(from, joined) });
    }
    return needed;
  }

  private share(feed: ChannelFeed, read: SharedRead): void {
    this.reads.set(feed, read);
    const forget = (): void => {
      if (this.reads.get(feed) === read) this.reads.delete(feed);
      this.noteIdle();
    };
    read.result.then((log) => {
      read.end = log?.end ?? 0;
      setTimeout(forget, SHARED_MS).unref();
    }, forget);
  }

  /** Asks on until there is no more. @returns nothing if the other node has no such log */
  private async follow(feed: ChannelFeed, from: number, first: ReadPart | null): Promise<OtherLog | undefined> {
    if (first === null) return undefined;
    let part = first;
    let { after } = part;
    let entries: WireEntry[] = [...part.entries];
    while (part.hasMore) {
      const last = entries.at(-1)?.[0] ?? after;
      const { reads } = await this.way.ask({ from: [], reads: [[feed.name, last]], claims: [] });
      if (reads[0] === null) return undefined;
      part = reads[0]!;
      // Some of it has been forgotten meanwhile: what is before that is of no use.
      if (part.after > last) [after, entries] = [part.after, []];
      entries.push(...part.entries);
    }
    const vector = part.vector === null ? undefined : SerialVector.read(part.vector, 'a vector', isTemplate(feed.name));
    const cut = new Cut(this.hereId, from, feed.log.lastOffset, vector);
    const end = entries.at(-1)?.[0] ?? after;
    return { after, end, entries: await this.readLater(entries, feed.name), cut };
  }

  /** Reads what was answered after what was answered before, so that no turn of the loop reads more than a part of it all. */
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
