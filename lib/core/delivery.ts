import type { Codec, EncodedMessage } from '../protocol/codec.js';
import type { Envelope } from '../protocol/envelope.js';
import type { Position } from '../protocol/position.js';

/** Where messages come from; one for all that are posted here, since each word of a delivery costs every post. */
export interface Origin {
  /** How it came to this node's listeners. */
  readonly origin: 'local' | 'global';
  readonly node: string;
  /** Whether this node has posted it, and got it back with its place in a history. */
  readonly isOwn?: boolean | undefined;
  readonly codec: Codec;
  /** Tells a message of another node from the others of that node. */
  readonly serial?: number | undefined;
  /** What another node wrote, which is what everybody is to read. */
  readonly envelope?: Envelope | undefined;
  /** Its place in the history of the channel. */
  readonly position?: Position | undefined;
  /** Whether it was read from the history for one reader. */
  readonly replayed?: boolean | undefined;
}

/** What is made of one message for many receivers; each filled by the first that needs it. */
interface Forms {
  encoded: EncodedMessage | undefined;
  /** As an event for whoever reads one channel. */
  frame: unknown;
  /** Tells it from the others that this node has published. */
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
    /** How many posts led to this one, each made by a listener of the one before. */
    readonly depth: number,
    /** The template whose listeners alone are meant; all listeners of the channel otherwise. */
    readonly template?: string,
  ) {}

  /** How it came to this node's listeners: when it was posted, or by the transport. */
  get origin(): 'local' | 'global' {
    return this.from.origin;
  }

  /** Whether it was posted on this node. */
  get isOwn(): boolean {
    return this.from.origin === 'local' || this.from.isOwn === true;
  }

  /** The id of the node it was posted on; empty where a part that is not of this library sent it. */
  get node(): string {
    return this.from.node;
  }

  /** Tells it from the others that its node has published; none if it stayed on this node, or a foreign part posted it. */
  get serial(): number | undefined {
    return this.from.serial ?? this.made?.serial;
  }

  /** Its place in the history of the channel; none if that keeps none. */
  get position(): Position | undefined {
    return this.from.position ?? this.made?.position;
  }

  /** Whether it was read from the history for one reader, instead of heard. */
  get replayed(): boolean {
    return this.from.replayed === true;
  }

  /** What has been made of the message, so that it is made once. */
  get forms(): Forms {
    return (this.made ??= { encoded: undefined, frame: undefined, serial: undefined, position: undefined });
  }

  /**
   * The message as text: as it was when the first asked; one of another node as that node has written it, so that no
   * rule of its class is applied twice.
   *
   * @throws UnserializableError with the path to what cannot travel
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
