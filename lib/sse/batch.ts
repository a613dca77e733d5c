import { Frame } from './frame.js';

const LINE_END = Buffer.from('\r\n');
const NOTHING = new Frame(Buffer.alloc(0));

/**
 * Frames that go out together, in this order. Connections that have been sent the same frames since the same moment share one batch
 * object. Its bytes are put together once for all of them, and adding a frame costs each of them next to nothing.
 */
export class Batch {
  /** This batch with one more frame. It caches the last added frame, which the next connection usually adds as well. */
  private longer: Batch | undefined = undefined;
  /** The last argument and result of {@link addAll}: the next connection usually asks for the same. */
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

  /** An empty batch, to start with. */
  static empty(): Batch {
    return new Batch(undefined, NOTHING, 0, 0);
  }

  /** Returns this batch with one more frame. */
  add(frame: Frame): Batch {
    let { longer } = this;
    if (longer === undefined || longer.frame !== frame) {
      const { length } = frame.bytes;
      this.longer = longer = new Batch(this, frame, this.length + length, Math.max(this.longest, length));
    }
    return longer;
  }

  /** Returns this batch followed by another one. */
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

  /** Its frames, in order. */
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
