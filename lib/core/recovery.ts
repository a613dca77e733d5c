import type { GapReason } from '../protocol/position.js';
import type { LogEntry, LogMessage, LogRead } from './channel-log.js';
import type { SerialVector } from './serial-vector.js';

// A client that comes here from another node has read that node's log. What it is owed: the rest of that log, then what
// this node's log has that the other one did not have. Both logs hold mostly the same messages, in orders that may differ;
// the serials of the posters tell which.
//
// This node notes how far its own log has come, asks the other node, and notes it again when the answer is there. Question and
// answer come through the subscriptions, behind all that was published before them. So the other log had, when it was read,
// all that this log had when the question was asked; and this log has, when the answer is there, all that the other one has.

/** What another node has answered about what came in its log after the client's position. */
export type Missed<Body> =
  | { readonly found: true; readonly entries: readonly LogEntry<Body>[] }
  /** Nothing of it is to be sent: it is not known, too much, or nothing that the client may be sent. */
  | { readonly found: false; readonly reason: GapReason };

/**
 * What came after a client's position in the log that it has read, on the node that keeps it.
 *
 * @param read - after that position; one that does not reach the end was too much
 * @param cut - that the client's position is counted by, if it came from another node
 * @param joined - how far this log had come when the client came
 */
export function missedIn<Body>(read: LogRead<Body>, cut?: Cut, joined = 0): Missed<Body> {
  if (!read.found) return { found: false, reason: read.reason === 'trimmed' ? 'trimmed' : 'epoch' };
  const { entries, end } = read;
  if ((entries.at(-1)?.offset ?? end.offset) < end.offset) return { found: false, reason: 'trimmed' };
  return { found: true, entries: cut === undefined ? entries : cut.owed(entries, joined) };
}

/**
 * Which of this node's entries are for clients that come from another log. It stands for one answer, however many clients
 * wait for that. Entries before {@link from} never are: the other log had them all.
 */
export class Cut {
  /**
   * @param node - this node
   * @param from - how far this log had come when the question was asked; the subscription had been registered before
   * @param to - how far it had come when the answer came, or what stands for it: if the other node does not answer, a
   *   question of this node to itself that comes back through its subscription
   * @param vector - how far the other log had come, for each poster, when it was read; without it, no entry up to `to` can be
   *   compared with what the client has read
   */
  constructor(
    private readonly node: string,
    readonly from: number,
    readonly to: number,
    private readonly vector: SerialVector | undefined,
  ) {}

  /**
   * Whether an entry after {@link from} is for a client, or cannot be compared with what it has read: it is then not sent.
   *
   * @param joined - how far this log had come when the client came
   */
  decide({ offset, item }: LogEntry<unknown>, joined: number): 'owed' | 'not owed' | 'unclear' {
    if (item.kind === 'gap') return 'owed';
    // Only ever on this node: for those who were here.
    if (this.isOwn(item)) return offset > joined ? 'owed' : 'not owed';
    if (item.serial !== undefined && this.vector !== undefined) {
      return this.vector.covers(item.node, item.channel, item.serial) ? 'not owed' : 'owed';
    }
    return offset > this.to ? 'owed' : 'unclear';
  }

  /**
   * What a client that has read up to some place of this log, counted by this cut, is to be sent of what comes after it. What
   * is unclear has been told when the cut was made.
   */
  owed<Body>(entries: readonly LogEntry<Body>[], joined: number): LogEntry<Body>[] {
    return entries.filter((entry) => this.decide(entry, joined) === 'owed');
  }

  private isOwn({ node, serial }: LogMessage<unknown>): boolean {
    return serial === undefined && node === this.node;
  }
}

/** What a client is sent that has come from another node, in this order. */
export interface Merged<Body> {
  /** Of the other log, with its offsets. */
  readonly missed: readonly LogEntry<Body>[];
  /** Whether and why messages are missing here, beside the gaps among the entries. */
  readonly gap: GapReason | undefined;
  /** Of this log, with its offsets. */
  readonly rest: readonly LogEntry<Body>[];
  /** The place in this log from which the client reads on: before the rest. */
  readonly offset: number;
  /** Whether the cut is needed to read on from there: something after it is not for this client. */
  readonly isCut: boolean;
}

/**
 * Joins what another node has answered with this node's log: nothing missing, nothing doubled, each poster's messages in
 * order; or a gap. After the rest, the client is sent what comes live, from the end of `here` on and in the same turn.
 *
 * @param here - this node's log after `cut.from`, to its end
 * @param joined - how far this log had come when the client came
 */
export function merge<Body>(missed: Missed<Body>, cut: Cut, here: LogRead<Body>, joined: number): Merged<Body> {
  const before = missed.found ? missed.entries : [];
  const end = here.end.offset;
  let gap = missed.found ? undefined : missed.reason;
  if (!here.found) return { missed: before, gap: gap ?? 'trimmed', rest: [], offset: end, isCut: false };
  const rest: LogEntry<Body>[] = [];
  for (const entry of here.entries) {
    const decision = cut.decide(entry, joined);
    if (decision === 'owed') rest.push(entry);
    else if (decision === 'unclear') gap ??= 'node';
  }
  // A gap right behind a gap tells nothing new.
  if (rest[0]?.item.kind === 'gap' && (gap !== undefined || before.at(-1)?.item.kind === 'gap')) rest.shift();
  const offset = rest.length === 0 ? end : rest[0]!.offset - 1;
  return { missed: before, gap, rest, offset, isCut: end - offset > rest.length };
}
