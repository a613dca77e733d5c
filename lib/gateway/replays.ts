import { Frame, gapFrame } from '../sse/frame.js';
import type { ClientEntry } from './client-message.js';

/** More is not kept to be sent again. */
const MAX_BYTES = 16 * 1024 * 1024;

/** What clients have missed of one channel or template, from one place on. */
export class Replay {
  /** Of the messages, in bytes. */
  readonly size: number;
  private joined: Frame | undefined = undefined;

  constructor(
    private readonly name: string,
    readonly entries: readonly ClientEntry[],
  ) {
    this.size = entries.reduce((sum, { item }) => (item.kind === 'gap' ? sum : sum + item.bytes), 0);
  }

  /** All of it as our client reads it, put together once for all that are sent it. */
  get frame(): Frame {
    return (this.joined ??= new Frame(Buffer.concat(this.entries.map((entry) => clientFrame(this.name, entry).bytes))));
  }
}

/** An entry as our client is sent it. */
export function clientFrame(name: string, { offset, item }: ClientEntry): Frame {
  return item.kind === 'gap' ? gapFrame({ channel: name, reason: item.reason }, String(offset)) : item.body.frame;
}

/** What several clients have missed alike, put together once as long as there are clients that come back. */
export class Replays {
  private bySource = new Map<object, { readonly end: number; readonly byOffset: Map<number, Replay> }>();
  private bytes = 0;

  /**
   * @param source - the log that it is from
   * @param end - how far that has come
   * @param offset - after which place
   * @param make - puts it together
   */
  get(source: object, end: number, offset: number, make: () => Replay): Replay {
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
