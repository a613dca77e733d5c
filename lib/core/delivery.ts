import type { Codec, EncodedMessage } from '../protocol/codec.js';
import type { Envelope } from '../protocol/envelope.js';
import type { Position } from '../protocol/position.js';

/** Where a message comes from. All local posts share one instance, since each word of a delivery makes every post slower. */
export interface Origin {
  /** How it came to this node's listeners. */
  readonly origin: 'local' | 'global';
  readonly node: string;
  /** Whether this node posted it and got it back with its position in a history. */
  readonly isOwn?: boolean | undefined;
  readonly codec: Codec;
  /** Distinguishes a message of another node from the others of that node. */
  readonly serial?: number | undefined;
  /** The envelope as another node wrote it; readers get exactly this text. */
  readonly envelope?: Envelope | undefined;
  /** Its position in the history of the channel. */
  readonly position?: Position | undefined;
  /** Whether it was read from the history for one reader. */
  readonly replayed?: boolean | undefined;
}

/** Forms of one message that many receivers share. The first receiver that needs a form makes it. */
interface Forms {
  encoded: EncodedMessage | undefined;
  /** The event for all readers of a single channel. */
  frame: unknown;
  /** Distinguishes it from the other messages that this node has published. */
  serial: number | undefined;
  /** See {@link Origin.position}. */
  position: Position | undefined;
}

/** One message on its way to the listeners of this node. */
export class Delivery {
  private made: Forms | undefined = undefined;

  constructor(
    readonly message: unknown,
    readonly channel: string,
    private readonly from: Origin,
    /** Milliseconds since 1970. */
    readonly postedAt: number,
    /** How many posts led to this one, each made by a listener of the previous one. */
    readonly depth: number,
    /** The template whose listeners alone get it; otherwise all listeners of the channel. */
    readonly template?: string,
  ) {}

  /** Whether it came from a post on this node or by the transport. */
  get origin(): 'local' | 'global' {
    return this.from.origin;
  }

  /** Whether it was posted on this node. */
  get isOwn(): boolean {
    return this.from.origin === 'local' || this.from.isOwn === true;
  }

  /** The id of the node that posted it; empty if the sender does not use this library. */
  get node(): string {
    return this.from.node;
  }

  /**
   * Distinguishes it from other messages that its node published. Absent if it stayed on this node, or its sender does not use this
   * library.
   */
  get serial(): number | undefined {
    return this.from.serial ?? this.made?.serial;
  }

  /** Its position in the history of the channel; absent if the channel keeps no history. */
  get position(): Position | undefined {
    return this.from.position ?? this.made?.position;
  }

  /** Whether it was read from the history for one reader. */
  get replayed(): boolean {
    return this.from.replayed === true;
  }

  /** The forms of the message, each made once. */
  get forms(): Forms {
    return (this.made ??= { encoded: undefined, frame: undefined, serial: undefined, position: undefined });
  }

  /**
   * The message as text, encoded when it is first needed. A message of another node keeps the text of that node, so that no rule of its
   * class applies twice.
   *
   * @throws UnserializableError with the path to the value that cannot be sent
   */
  get encoded(): EncodedMessage {
    return (this.forms.encoded ??= encodedIn(this.from.envelope) ?? this.from.codec.encode(this.message));
  }

  /** The wire name of the message's class; `undefined` for plain values. */
  get type(): string | undefined {
    return this.from.codec.typeOf(this.message);
  }
}

function encodedIn(envelope: Envelope | undefined): EncodedMessage | undefined {
  if (envelope?.text === undefined) return undefined;
  const { text, type, meta } = envelope;
  return { data: text, type, meta: meta === undefined ? undefined : JSON.stringify(meta) };
}
