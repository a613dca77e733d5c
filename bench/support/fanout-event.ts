/** Occurs once in each event, and in nothing else that a server sends, WebSocket frames included, so that it counts events. */
export const MARK = '^';

/** The payload of all servers: about 225 bytes of JSON without `filler`. */
export class PriceChange {
  /** Numbers a server's posts. */
  readonly seq: number;
  /** The time of the post, or its scheduled time: see {@link clock}. */
  readonly at: number;
  readonly symbol = `ACME${MARK}XNAS`;
  readonly name = 'Acme Rockets, Class A';
  readonly currency = 'USD';
  readonly bid = 182.25;
  readonly ask = 182.31;
  readonly last = 182.28;
  readonly volume = 1_203_400;
  readonly halted = false;
  readonly note = 'as of the last trade; it is not delayed';
  readonly filler: string | undefined;

  constructor(seq: number, at: number, filler?: string) {
    this.seq = seq;
    this.at = at;
    this.filler = filler;
  }
}
