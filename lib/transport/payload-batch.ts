// Several payloads in one: what a Redis channel is told of them by is the line break that they begin with, since no
// JSON does.

/** Stands before each payload of a batch. JSON.stringify writes none. */
export const LINE_BREAK = '\n';

/** @param payloads - without line breaks, unless there is only one */
export function joinPayloads(payloads: readonly string[]): string {
  return payloads.length === 1 ? payloads[0]! : LINE_BREAK + payloads.join(LINE_BREAK);
}

/** The payloads of a batch; a payload that is none is the only one. */
export function splitPayloads(text: string): string[] {
  return text.startsWith(LINE_BREAK) ? text.slice(1).split(LINE_BREAK) : [text];
}
