/** A place in what is sent under one channel or template. */
export interface Position {
  /** Which numbering it is of; opaque to clients. */
  readonly epoch: string;
  /** Of the last message, or gap, before it. Rises by one with each. */
  readonly offset: number;
}

/**
 * Why messages may be missing.
 *
 * - `broker`: the server's link to Redis was down or deaf
 * - `node`: the server that knew them is gone, or does not answer
 * - `trimmed`: they are kept no longer, or are too much
 * - `epoch`: the position is of another numbering, or of none
 * - `slow-consumer`: the reader was too slow
 */
export type GapReason = 'broker' | 'node' | 'trimmed' | 'epoch' | 'slow-consumer';
