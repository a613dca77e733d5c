import type { Signatures } from './signatures.js';

/** How the envelopes of a node are written and read. */
export interface Envelopes {
  /** What those of this node begin with. */
  readonly prefix: string;
  /** How long one may be. */
  readonly maxMessageBytes: number;
  readonly signatures: Signatures;
}
