// Several payloads in one PUBLISH. A batch starts with a line break, which no JSON payload does.

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
