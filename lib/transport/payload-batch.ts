// Several payloads in one PUBLISH. A batch starts with a line break, which no JSON payload does.

import { InvalidMessageError } from '../protocol/errors.js';
import { readPosition, type Position } from '../protocol/position.js';
import { readObject, readWholeNumber } from '../protocol/wire-reader.js';

/** Stands before each payload of a batch. JSON.stringify writes none. */
export const LINE_BREAK = '\n';

/** What is gathered for a batch goes out once it has so many bytes, so that no PUBLISH holds Redis up. */
export const MAX_BATCH_BYTES = 64 * 1024;

/** The most payloads in one batch. Their bytes bound those that are envelopes earlier. */
export const MAX_BATCH_PAYLOADS = 1_024;

/** @param payloads - without line breaks, unless there is only one */
export function joinPayloads(payloads: readonly string[]): string {
  return payloads.length === 1 ? payloads[0]! : LINE_BREAK + payloads.join(LINE_BREAK);
}

/** The longest text that {@link joinPayloads} makes of payloads of at most so many bytes. */
export function maxBatchLength(maxPayloadBytes: number): number {
  return MAX_BATCH_BYTES + maxPayloadBytes + MAX_BATCH_PAYLOADS;
}

/** What {@link splitPayloads} found. */
export interface SplitPayloads {
  readonly payloads: string[];
  /** Whether there is more than a batch may hold; that is left out. */
  readonly isCut: boolean;
}

/**
 * The payloads of a batch. Anybody on this Redis may have written it: beyond what a batch may hold it is not looked at.
 *
 * @param text - begins with a {@link LINE_BREAK}
 * @param maxLength - see {@link maxBatchLength}
 */
export function splitPayloads(text: string, maxLength: number): SplitPayloads {
  let isCut = text.length > maxLength;
  // The last line within the bound may go on behind it.
  const end = isCut ? Math.max(0, text.lastIndexOf(LINE_BREAK, maxLength)) : text.length;
  const payloads = text.slice(1, Math.max(1, end)).split(LINE_BREAK, MAX_BATCH_PAYLOADS + 1);
  if (end === 0) payloads.length = 0;
  if (payloads.length > MAX_BATCH_PAYLOADS) {
    payloads.length = MAX_BATCH_PAYLOADS;
    isCut = true;
  }
  return { payloads, isCut };
}

/** How the line begins that stands before the payloads of a batch that is in a history. */
const HISTORY_LINE = `${LINE_BREAK}{"history":{`;

/** The longest such line, in characters. */
const MAX_HISTORY_LINE = 256;

/** Whether a batch says its place in the history of its channel. */
export function isOfHistory(text: string): boolean {
  return text.startsWith(HISTORY_LINE);
}

/** What {@link splitHistory} found. */
export interface SplitHistory {
  readonly payloads: string[];
  /** That of the first payload; that of each further one is one more. */
  readonly position: Position;
}

/**
 * The payloads of a batch that is in a history. Its first line is `{"history":{"epoch":…,"offset":…,"count":…}}`, the
 * place of the first payload and how many there are. Anybody on this Redis may have written it.
 *
 * @param text - for which {@link isOfHistory} holds
 * @param maxLength - see {@link maxBatchLength}
 * @throws InvalidMessageError for what is not such a batch
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
 * Payloads that were joined by line breaks. A single one may hold line breaks.
 *
 * @throws InvalidMessageError if there are not so many
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
