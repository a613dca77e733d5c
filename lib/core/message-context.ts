import type { MessageParams } from '../protocol/channel.js';
import { paramsOf } from '../protocol/channel-name.js';
import type { Position } from '../protocol/position.js';
import type { Delivery } from './delivery.js';

/** The listener that a context is for. */
interface Hearer {
  /** The segments of the template that names the parameters, if there is a template. */
  readonly segments: readonly string[] | undefined;
  readonly session: { readonly signal: AbortSignal };
}

/** Information about a message that a listener gets along with the message. */
export class MessageContext<Params = MessageParams> {
  readonly #delivery: Delivery;
  readonly #hearer: Hearer;

  /** @internal */
  constructor(delivery: Delivery, hearer: Hearer) {
    this.#delivery = delivery;
    this.#hearer = hearer;
  }

  /** The name of the channel that the message was posted to, parameters filled in. */
  get channel(): string {
    return this.#delivery.channel;
  }

  /** The parameters of the channel, by the template that the listener was registered with; otherwise empty. */
  get params(): Params {
    const { segments } = this.#hearer;
    return (segments ? paramsOf(segments, this.channel.split('/')) : {}) as Params;
  }

  /** The wire name of the message's class; `undefined` for plain values. */
  get type(): string | undefined {
    return this.#delivery.type;
  }

  /** `local`: posted on this node. `global`: came from another one. */
  get origin(): 'local' | 'global' {
    return this.#delivery.isOwn ? 'local' : 'global';
  }

  /** The id of the node that posted it; empty if the sender does not use this library. */
  get node(): string {
    return this.#delivery.node;
  }

  /** When it was posted, by the poster's clock, in milliseconds since 1970. */
  get postedAt(): number {
    return this.#delivery.postedAt;
  }

  /** Its position in the history of the channel, from which reading can continue later; `undefined` if the channel keeps no history. */
  get position(): Position | undefined {
    return this.#delivery.position;
  }

  /** Whether it is an earlier message, read from the history for this listener (`replay`). */
  get replayed(): boolean {
    return this.#delivery.replayed;
  }

  /** Aborted when the session that the listener belongs to closes: pass it on to what the listener starts. */
  get signal(): AbortSignal {
    return this.#hearer.session.signal;
  }
}
