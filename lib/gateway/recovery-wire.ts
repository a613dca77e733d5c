import { InvalidMessageError } from '../protocol/errors.js';
import { MAX_CONNECTION_LENGTH } from '../protocol/gateway.js';
import { MAX_EPOCH_LENGTH, readGapReason, type GapReason } from '../protocol/position.js';
import { readList, readName, readObject, readText, readTuple, readWholeNumber } from '../protocol/wire-reader.js';
import { MAX_OWNER_LENGTH } from './admission.js';
import { NativeProof, type Claim } from './claim.js';
import { frameOfText, type ClientEntry } from './client-message.js';
import { MAX_NATIVE_ID_LENGTH } from './native-position.js';

// The questions of nodes about clients that have moved, and the answers. docs/architecture.md describes a recovery.

/** The limit of claims, and of channels, in one question. */
export const MAX_ASKED = 1_000;
const MAX_ENTRIES = 100_000;
/** How many names the URL of a native EventSource may have. */
const MAX_NAMES = 10_000;

/** A connection whose client is now elsewhere, and its owner: see `positionOwner`. */
export type Returned = readonly [connection: string, owner: string];

/** A question of one node to another. */
export interface RecoveryQuestion {
  /** Earlier connections, on that node, of clients that are here now. */
  readonly from: readonly Returned[];
  /** Requests for the messages under these names after these offsets, each name once. They are answered if a claim to the name is valid. */
  readonly reads: readonly (readonly [name: string, after: number])[];
  /** Claims of clients to be checked. */
  readonly claims: readonly NamedClaim[];
  /** Claims that were checked before, for further reads. */
  readonly granted: readonly NamedClaim[];
}

/** A client's claim about a channel or template. */
export type NamedClaim = Pick<Claim, 'offset' | 'proof'> & {
  readonly name: string;
  /** The owner of the claim: see `positionOwner`. */
  readonly owner: string;
};

/** For a valid claim: the entries after its offset that are not for this client. Otherwise the reason of its gap. */
export type Verdict = readonly number[] | GapReason;

/** The messages under a name. */
export interface ReadPart {
  /** The offset before the first entry: that of the question, or a later one if everything up to there is forgotten. */
  readonly after: number;
  readonly entries: readonly WireEntry[];
  /** How far the posters' messages have come; `null` if it is unknown, or if there is more. */
  readonly vector: unknown;
  /** Whether there is more, for the next question. */
  readonly hasMore: boolean;
}

/** An offset with a gap, or with a message: the text of its `MessageFrame` and the length of the part before the message itself. */
export type WireEntry =
  readonly [offset: number, text: string, head: number] | readonly [offset: number, reason: GapReason];

/**
 * The answer of a node, in the order of the question, as much as fits; claims come before reads. The rest is requested again. `null`
 * stands for a name without a log, or without a valid claim.
 */
export interface RecoveryAnswer {
  readonly reads: readonly (ReadPart | null)[];
  readonly verdicts: readonly Verdict[];
}

/** The question as it goes to the other node: proofs that several claims share appear once. */
export function writeRecoveryQuestion({ from, reads, claims, granted }: RecoveryQuestion): unknown {
  const proofs = [...new Set([...claims, ...granted].map(({ proof }) => proof))];
  const indexes = new Map(proofs.map((proof, index) => [proof, index]));
  const write = ({ name, offset, proof, owner }: NamedClaim): unknown => [name, offset, indexes.get(proof), owner];
  return { from, reads, proofs: proofs.map(writeProof), claims: claims.map(write), granted: granted.map(write) };
}

/** How much longer a claim makes a question. @param isNew - whether no other claim there has this proof */
export function lengthOfClaim({ name, offset, proof, owner }: NamedClaim, isNew: boolean): number {
  return lengthOf([name, offset, MAX_ASKED, owner, isNew ? writeProof(proof) : '']);
}

/** The length of a value with its separator, as it goes to another node. In bytes. */
export function lengthOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value)) + 1;
}

/** @throws InvalidMessageError for a value that {@link writeRecoveryQuestion} cannot have produced */
export function readRecoveryQuestion(value: unknown): RecoveryQuestion {
  const { from, reads, proofs, claims, granted } = readObject(value, 'what clients have missed');
  const known = readList(proofs, 'its proofs', 2 * MAX_ASKED, readProof);
  const readClaim = (item: unknown, path: string): NamedClaim => {
    const [name, offset, index, owner] = readTuple(item, path, 4);
    const proof = known[readWholeNumber(index, path)];
    if (proof === undefined) throw new InvalidMessageError(`${path} has no proof`);
    return {
      name: readName(name, path),
      offset: readWholeNumber(offset, path),
      proof,
      owner: readOwner(owner, path),
    };
  };
  const question = {
    from: readList(from, 'its connections', MAX_ASKED, readReturned),
    reads: readList(reads, 'its reads', MAX_ASKED, (item, path) => {
      const [name, after] = readTuple(item, path, 2);
      return [readName(name, path), readWholeNumber(after, path)] as const;
    }),
    claims: readList(claims, 'its claims', MAX_ASKED, readClaim),
    granted: readList(granted, 'its granted claims', MAX_ASKED, readClaim),
  };
  // Otherwise one log could be read a thousand times.
  if (new Set(question.reads.map(([name]) => name)).size === question.reads.length) return question;
  throw new InvalidMessageError('what clients have missed is to be read twice under one name');
}

/** @throws InvalidMessageError if it does not answer this question */
export function readRecoveryAnswer(value: unknown, { reads, claims }: RecoveryQuestion): RecoveryAnswer {
  const answer = readObject(value, 'the answer about what clients have missed');
  const result = {
    reads: readList(answer['reads'], 'its reads', reads.length, readPart),
    verdicts: readList(answer['verdicts'], 'its verdicts', claims.length, readVerdict),
  };
  if (result.reads.length === 0 || result.verdicts.length === claims.length) return result;
  throw new InvalidMessageError('the answer about what clients have missed does not say whether all claims hold');
}

/**
 * Reads an entry of an answer. Only messages of this name, and gaps, may get into a client's stream.
 *
 * @param name - the name that was asked for
 * @throws InvalidMessageError
 */
export function readEntry(entry: WireEntry, name: string): ClientEntry {
  if (entry.length === 2) return { offset: entry[0], item: { kind: 'gap', reason: entry[1] } };
  const [offset, text, head] = entry;
  const { channel, template, type } = readObject(parse(text), 'a message of the answer');
  const path = 'a message of the answer';
  if ((template ?? channel) !== name) throw new InvalidMessageError(`${path} is of another channel than was asked for`);
  const frame = frameOfText(text.replace(/[\r\n]/g, ' '), offset);
  const body = {
    frame,
    type: type === undefined ? undefined : readName(type, `its class`),
    head,
  };
  const bytes = frame.bytes.length;
  return {
    offset,
    item: { kind: 'message', channel: readName(channel, path), node: '', serial: undefined, body, bytes },
  };
}

function readPart(value: unknown, path: string): ReadPart | null {
  if (value === null) return null;
  const { after, entries, vector, hasMore } = readObject(value, path);
  return {
    after: readWholeNumber(after, `${path}.after`),
    entries: readList(entries, `${path}.entries`, MAX_ENTRIES, readWireEntry),
    vector,
    hasMore: hasMore === true,
  };
}

function readWireEntry(value: unknown, path: string): WireEntry {
  const [offset, text, head] = readList(value, path, 3, (part) => part);
  const place = readWholeNumber(offset, path);
  if (head === undefined) return [place, readGapReason(text, path)];
  return [place, readText(text, path, Infinity), readWholeNumber(head, path)];
}

function readVerdict(value: unknown, path: string): Verdict {
  return typeof value === 'string' ? readGapReason(value, path) : readList(value, path, MAX_ENTRIES, readWholeNumber);
}

function writeProof(proof: string | NativeProof): unknown {
  return typeof proof === 'string' ? proof : [proof.id, proof.names];
}

function readProof(value: unknown, path: string): string | NativeProof {
  if (typeof value === 'string') return readText(value, path, MAX_EPOCH_LENGTH);
  const [id, names] = readTuple(value, path, 2);
  return new NativeProof(readText(id, path, MAX_NATIVE_ID_LENGTH), readList(names, path, MAX_NAMES, readName));
}

function readReturned(value: unknown, path: string): Returned {
  const [connection, owner] = readTuple(value, path, 2);
  return [readText(connection, path, MAX_CONNECTION_LENGTH), readOwner(owner, path)];
}

function readOwner(value: unknown, path: string): string {
  return readText(value, path, MAX_OWNER_LENGTH);
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
