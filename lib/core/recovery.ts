import type { GapReason } from '../protocol/position.js';
import type { LogEntry, LogRead, ReadBounds } from './channel-log.js';
import type { Cut, Cuts } from './cut.js';
import type { MemoryLog } from './memory-log.js';

// A client that comes from another node has read that node's log. It needs the rest of that log, then the entries of this node's log that
// the other one did not have. Both logs contain mostly the same messages, possibly in different orders; the posters' serials identify
// them.
//
// This node notes the end of its own log, asks the other node, and notes the end again when the answer arrives. Question and answer come
// through the subscriptions, after everything that was published before them (`Hub.settled`). So the other log, when it was read, had everything that
// this log had when the question was asked; and this log has, when the answer arrives, everything that the other one had. This holds only
// if both nodes are subscribed to the channel at that moment: this node asks when its subscription is registered, and the other one answers
// when its own is.

/** The log of a node that a client was admitted to. */
export interface Admission {
  /** The number of the log on this node. */
  readonly log: number;
  /** The end of the log when the client was admitted. Earlier entries are not for it, except by a cut. */
  readonly admitted: number;
  /** The cut that its positions are counted by, if it came from another node. */
  readonly cut?: number;
}

/** Whether the client needs everything in this log after a position: it was admitted before, and no cut applies. */
export function isOwedAll(
  log: MemoryLog<unknown>,
  admission: Admission | undefined,
  offset: number,
): admission is Admission {
  return admission?.log === log.number && admission.cut === undefined && offset >= admission.admitted;
}

/** The entries after a client's position in the log that it has read, from the node that keeps the log. */
export type Missed<Body> =
  | { readonly found: true; readonly entries: readonly LogEntry<Body>[] }
  /** Nothing can be sent: the entries are unknown, too many, or not for this client. */
  | { readonly found: false; readonly reason: GapReason };

/**
 * Reads the entries of this node's own log that a client has missed.
 *
 * @param cuts - of this log
 * @param admission - from the client's epoch, checked; absent if the epoch is forged, or of another name or node
 * @param bounds - the size limit; beyond it the result is `trimmed`
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

/** The entries that a client from another node is sent, in this order. */
export interface Merged<Body> {
  /** Entries of the other log, with its offsets. */
  readonly missed: readonly LogEntry<Body>[];
  /** Why messages are missing here, if they are, besides the gaps among the entries. */
  readonly gap: GapReason | undefined;
  /** Entries of this log, with its offsets. */
  readonly rest: readonly LogEntry<Body>[];
  /** The offset in this log from which the client reads on: before the rest. */
  readonly offset: number;
  /** Whether reading on from there needs the cut: some later entry is not for this client. */
  readonly isCut: boolean;
}

/**
 * Joins the answer of another node with this node's log: nothing missing, nothing doubled, each poster's messages in order; or a gap.
 * After the rest, the client gets live messages, from the end of `here` on and in the same turn.
 *
 * @param here - this node's log after `cut.from`, to its end
 * @param joined - the end of this log when the client came
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
  // A gap directly after a gap adds no information.
  if (rest[0]?.item.kind === 'gap' && (gap !== undefined || before.at(-1)?.item.kind === 'gap')) rest.shift();
  const offset = rest.length === 0 ? end : rest[0]!.offset - 1;
  return { missed: before, gap, rest, offset, isCut: end - offset > rest.length };
}

/**
 * The admission of a client after a {@link merge}. It belongs to the resulting offset.
 *
 * @param log - the log of this node
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
