import type { GapReason } from '../protocol/position.js';
import type { LogEntry, LogRead, ReadBounds } from './channel-log.js';
import type { Cut, Cuts } from './cut.js';
import type { MemoryLog } from './memory-log.js';

// A client that comes here from another node has read that node's log. What it is owed: the rest of that log, then what
// this node's log has that the other one did not have. Both logs hold mostly the same messages, in orders that may differ;
// the serials of the posters tell which.
//
// This node notes how far its own log has come, asks the other node, and notes it again when the answer is there. Question and
// answer come through the subscriptions, behind all that was published before them. So the other log had, when it was read,
// all that this log had when the question was asked; and this log has, when the answer is there, all that the other one had.
// This holds only if both nodes are subscribed to the channel itself at that moment: this one asks when its subscription is
// registered, the other one answers when its own is.

/** What a client has been let in to: one of the logs of a node. */
export interface Admission {
  /** Which of the node's logs it is. */
  readonly log: number;
  /** How far the log had come when the client was let in: nothing up to there is for it, but for what a cut says. */
  readonly admitted: number;
  /** Which cut its positions are counted by, if it came from another node. */
  readonly cut?: number;
}

/** Whether all of this log that comes after a position is for the client: it entered before, and no cut counts. */
export function isOwedAll(
  log: MemoryLog<unknown>,
  admission: Admission | undefined,
  offset: number,
): admission is Admission {
  return admission?.log === log.number && admission.cut === undefined && offset >= admission.admitted;
}

/** What came after a client's position in the log that it has read, on the node that keeps it. */
export type Missed<Body> =
  | { readonly found: true; readonly entries: readonly LogEntry<Body>[] }
  /** Nothing of it is to be sent: it is not known, too much, or not for this client. */
  | { readonly found: false; readonly reason: GapReason };

/**
 * Reads what a client has missed of this node's own log.
 *
 * @param cuts - of this log
 * @param admission - what the client's epoch says, checked; none if that is forged, of another name or of another node
 * @param bounds - how much it may be; too much is told as `trimmed`
 */
export function missedSince<Body>(
  log: MemoryLog<Body>,
  cuts: Cuts,
  admission: Admission | undefined,
  offset: number,
  bounds: ReadBounds,
): Missed<Body> {
  if (admission?.log !== log.number) return { found: false, reason: 'epoch' };
  const { admitted } = admission;
  const cut = admission.cut === undefined ? undefined : cuts.get(admission.cut, offset);
  if (cut === 'lost' || offset < (cut?.from ?? admitted)) return { found: false, reason: 'epoch' };
  const read = log.read({ epoch: log.epoch, offset }, bounds);
  if (!read.found) return { found: false, reason: read.reason === 'trimmed' ? 'trimmed' : 'epoch' };
  const { entries, end } = read;
  if ((entries.at(-1)?.offset ?? end.offset) < end.offset) return { found: false, reason: 'trimmed' };
  return { found: true, entries: cut === undefined ? entries : cut.owed(entries, admitted) };
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

/**
 * The admission of a client that has come by a {@link merge}, which goes with the offset there.
 *
 * @param log - this node's
 */
export function admissionOf<Body>(
  { offset, isCut }: Merged<Body>,
  cut: Cut,
  joined: number,
  log: MemoryLog<Body>,
  cuts: Cuts,
): Admission {
  if (!isCut) return { log: log.number, admitted: offset };
  return { log: log.number, admitted: joined, cut: cuts.keep(cut, joined, log.forgottenOffset) };
}
