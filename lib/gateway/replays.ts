import { Frame, gapFrame } from '../sse/frame.js';
import type { ClientEntry } from './client-message.js';

/** The size limit of the cache. */
const MAX_BYTES = 16 * 1024 * 1024;

/** The messages of one channel or template that clients have missed, from one position on. */
export class ClientReplay {
  /** The size of its messages, in bytes. */
  readonly size: number;
  private joined: Frame | undefined = undefined;

  constructor(
    private readonly name: string,
    readonly entries: readonly ClientEntry[],
  ) {
    this.size = entries.reduce((sum, { item }) => (item.kind === 'gap' ? sum : sum + item.bytes), 0);
  }

  /** All of it for this library's client, built once for all receivers. */
  get frame(): Frame {
    return (this.joined ??= new Frame(Buffer.concat(this.entries.map((entry) => clientFrame(this.name, entry).bytes))));
  }
}

/** An entry as the frame for this library's client. */
export function clientFrame(name: string, { offset, item }: ClientEntry): Frame {
  return item.kind === 'gap' ? gapFrame({ channel: name, reason: item.reason }, String(offset)) : item.body.frame;
}

/** Missed messages that several clients share, built once while clients come back. */
export class Replays {
  private bySource = new Map<object, { readonly end: number; readonly byOffset: Map<number, ClientReplay> }>();
  private bytes = 0;

  /**
   * @param source - the log that they come from
   * @param end - the end of that log
   * @param offset - the offset before the first message
   * @param make - builds the replay
   */
  get(source: object, end: number, offset: number, make: () => ClientReplay): ClientReplay {
    let known = this.bySource.get(source);
    if (known?.end !== end) this.bySource.set(source, (known = { end, byOffset: new Map() }));
    let replay = known.byOffset.get(offset);
    if (replay === undefined) {
      replay = make();
      this.bytes += replay.size;
      if (this.bytes > MAX_BYTES) this.clear();
      else known.byOffset.set(offset, replay);
    }
    return replay;
  }

  clear(): void {
    this.bySource = new Map();
    this.bytes = 0;
  }
}
