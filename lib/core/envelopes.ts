import type { Signatures } from './signatures.js';

/** How the envelopes of a node are written and read. */
export interface Envelopes {
  /** The beginning of every envelope of this node. */
  readonly prefix: string;
  /** How long an envelope may be. */
  readonly maxMessageBytes: number;
  readonly signatures: Signatures;
}
