const LINE_END = Buffer.from('\r\n');

/**
 * Frames that go out together, in this order. Connections that are to send the same frames since the same moment have
 * the very same batch, so its bytes are put together once for all of them, and adding a frame costs each of them next
 * to nothing.
 */
export class Batch {
  /** The batch that has one frame more; that of the last frame that was added, which mostly is the next one's too. */
  private longer: Batch | undefined = undefined;
  private joined: Buffer | undefined = undefined;
  private chunked: Buffer | undefined = undefined;

  private constructor(
    private readonly shorter: Batch | undefined,
    private readonly frame: Buffer,
    /** In bytes. */
    readonly length: number,
  ) {}

  /** A batch without frames, to begin with. */
  static empty(): Batch {
    return new Batch(undefined, Buffer.alloc(0), 0);
  }

  /** This batch and one frame more. */
  add(frame: Buffer): Batch {
    let { longer } = this;
    if (longer === undefined || longer.frame !== frame) {
      this.longer = longer = new Batch(this, frame, this.length + frame.length);
    }
    return longer;
  }

  get bytes(): Buffer {
    return (this.joined ??= Buffer.concat(this.frames(), this.length));
  }

  /** The bytes as one chunk of a response (RFC 9112, 7.1). */
  get chunk(): Buffer {
    return (this.chunked ??= Buffer.concat([
      Buffer.from(`${this.length.toString(16)}\r\n`, 'latin1'),
      ...this.frames(),
      LINE_END,
    ]));
  }

  private frames(): Buffer[] {
    const frames = [this.frame];
    // The first has none.
    for (let batch = this.shorter; batch?.shorter !== undefined; batch = batch.shorter) frames.push(batch.frame);
    return frames.toReversed();
  }
}
