// Several payloads in one PUBLISH. A batch starts with a line break, which no JSON payload does.

import { InvalidMessageError } from '../protocol/errors.js';
import { readPosition, type Position } from '../protocol/position.js';
import { readObject, readWholeNumber } from '../protocol/wire-reader.js';

/** Stands before each payload of a batch. JSON.stringify writes none. */
export const LINE_BREAK = '\n';

/** A batch is sent once it has this many bytes, so that no PUBLISH blocks Redis for long. */
export const MAX_BATCH_BYTES = 64 * 1024;

/** The maximum number of payloads in one batch. For envelopes, the byte limit applies first. */
export const MAX_BATCH_PAYLOADS = 1_024;

/** A batch of several payloads; a payload alone needs none. None of them contains a line break. */
export function joinPayloads(first: string, others: readonly string[]): string {
  // Not LINE_BREAK + …, which would be copied once more when its bytes are counted.
  return ['', first, ...others].join(LINE_BREAK);
}

/** The longest text of one PUBLISH if payloads have this maximum size in bytes. */
export function maxBatchLength(maxPayloadBytes: number): number {
  return MAX_BATCH_BYTES + maxPayloadBytes + MAX_BATCH_PAYLOADS;
}

/** The result of {@link splitPayloads}. */
export interface SplitPayloads {
  readonly payloads: string[];
  /** Whether the text exceeds the limits of a batch; the excess is left out. */
  readonly isCut: boolean;
}

/**
 * The payloads of a batch. Any client of this Redis may have written it, so text beyond the limits is ignored.
 *
 * @param text - begins with a {@link LINE_BREAK}
 * @param maxLength - see {@link maxBatchLength}
 */
export function splitPayloads(text: string, maxLength: number): SplitPayloads {
  let isCut = text.length > maxLength;
  // The last line within the limit may continue beyond it.
  const end = isCut ? Math.max(0, text.lastIndexOf(LINE_BREAK, maxLength)) : text.length;
  const payloads = text.slice(1, Math.max(1, end)).split(LINE_BREAK, MAX_BATCH_PAYLOADS + 1);
  if (end === 0) payloads.length = 0;
  if (payloads.length > MAX_BATCH_PAYLOADS) {
    payloads.length = MAX_BATCH_PAYLOADS;
    isCut = true;
  }
  return { payloads, isCut };
}

/** The beginning of the first line of a batch from a history. */
const HISTORY_LINE = `${LINE_BREAK}{"history":{`;

/** The longest such line, in characters. */
const MAX_HISTORY_LINE = 256;

/** Whether a batch contains its position in the history of its channel. */
export function isOfHistory(text: string): boolean {
  return text.startsWith(HISTORY_LINE);
}

/** The result of {@link splitHistory}. */
export interface SplitHistory {
  readonly payloads: string[];
  /** The position of the first payload. Each further one has the next offset. */
  readonly position: Position;
}

/**
 * The payloads of a batch from a history. Its first line is `{"history":{"epoch":…,"offset":…,"count":…}}`: the position of the first
 * payload and their number. Any client of this Redis may have written it.
 *
 * @param text - for which {@link isOfHistory} holds
 * @param maxLength - see {@link maxBatchLength}
 * @throws InvalidMessageError if it is not such a batch
 */
export function splitHistory(text: string, maxLength: number): SplitHistory {
  if (text.length > maxLength + MAX_HISTORY_LINE) {
    throw new InvalidMessageError(`a batch of ${text.length} characters is longer than this server takes`);
  }
  const end = text.indexOf(LINE_BREAK, 1);
  if (end < 0 || end > MAX_HISTORY_LINE)
    throw new InvalidMessageError('the place of a batch in its history has no end');
  const { history } = readObject(parse(text.slice(1, end)), 'the first line of a batch');
  const { epoch, offset } = readPosition(history, 'history');
  const count = readWholeNumber(readObject(history, 'history')['count'], 'history.count');
  if (offset < 1 || !Number.isSafeInteger(offset + count))
    throw new InvalidMessageError(`there is no message ${offset}`);
  return { payloads: splitCounted(text.slice(end + 1), count), position: { epoch, offset } };
}

/**
 * Splits payloads that were joined by line breaks. A single one may contain line breaks.
 *
 * @throws InvalidMessageError if their number differs
 */
export function splitCounted(text: string, count: number): string[] {
  const payloads = count === 1 ? [text] : text.split(LINE_BREAK, MAX_BATCH_PAYLOADS + 1);
  if (payloads.length === count && count <= MAX_BATCH_PAYLOADS) return payloads;
  throw new InvalidMessageError(`a batch of ${count} messages holds ${payloads.length}`);
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new InvalidMessageError('the first line of a batch is not JSON', { cause });
  }
}
