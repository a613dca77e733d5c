import { Frame } from './frame.js';

const LINE_END = Buffer.from('\r\n');
const NOTHING = new Frame(Buffer.alloc(0));

/**
 * Frames that go out together, in this order. Connections that are to send the same frames since the same moment have
 * the very same batch, so its bytes are put together once for all of them, and adding a frame costs each of them next
 * to nothing.
 */
export class Batch {
  /** The batch that has one frame more; that of the last frame that was added, which mostly is the next one's too. */
  private longer: Batch | undefined = undefined;
  /** What was last added by {@link addAll}, and what came of it: the next connection mostly asks for the same. */
  private added: Batch | undefined = undefined;
  private both: Batch | undefined = undefined;
  private joined: Buffer | undefined = undefined;
  private chunked: Buffer | undefined = undefined;

  private constructor(
    private readonly shorter: Batch | undefined,
    private readonly frame: Frame,
    /** In bytes. */
    readonly length: number,
    /** The bytes of its longest frame. */
    readonly longest: number,
  ) {}

  /** A batch without frames, to begin with. */
  static empty(): Batch {
    return new Batch(undefined, NOTHING, 0, 0);
  }

  /** This batch and one frame more. */
  add(frame: Frame): Batch {
    let { longer } = this;
    if (longer === undefined || longer.frame !== frame) {
      const { length } = frame.bytes;
      this.longer = longer = new Batch(this, frame, this.length + length, Math.max(this.longest, length));
    }
    return longer;
  }

  /** This batch and then another. */
  addAll(other: Batch): Batch {
    if (this.added !== other) {
      this.added = other;
      this.both = other.frames.reduce<Batch>((batch, frame) => batch.add(frame), this);
    }
    return this.both!;
  }

  get bytes(): Buffer {
    return (this.joined ??= Buffer.concat(this.buffers(), this.length));
  }

  /** The bytes as one chunk of a response (RFC 9112, 7.1). */
  get chunk(): Buffer {
    return (this.chunked ??= Buffer.concat([
      Buffer.from(`${this.length.toString(16)}\r\n`, 'latin1'),
      ...this.buffers(),
      LINE_END,
    ]));
  }

  /** What it holds, in order. */
  get frames(): Frame[] {
    const frames: Frame[] = [];
    if (this.shorter === undefined) return frames;
    frames.push(this.frame);
    for (let batch = this.shorter; batch.shorter !== undefined; batch = batch.shorter) frames.push(batch.frame);
    return frames.toReversed();
  }

  private buffers(): Buffer[] {
    return this.frames.map(({ bytes }) => bytes);
  }
}
