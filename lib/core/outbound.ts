import { Channel, postableName, type AnyPostableChannel } from '../protocol/channel.js';
import { quote } from '../protocol/channel-name.js';
import { encodeEnvelope } from '../protocol/envelope.js';
import { ConfigurationError, LimitExceededError, RedisNotEnabledError } from '../protocol/errors.js';
import { exceedsBytes } from '../protocol/limits.js';
import { declarations } from '../protocol/serializable.js';
import type { Audience } from './audience.js';
import type { Envelopes } from './envelopes.js';
import { assertPosted, isDirectly } from './class-guard.js';
import { Delivery, type Origin } from './delivery.js';
import { keepsNone, type Histories } from './histories.js';
import { digestOf, type AppendOutcome, type HistoryBounds, type HistoryPost } from './history-store.js';
import { LocalHistoryStore } from './local-history-store.js';
import type { ListenerList } from './listener-list.js';
import type { PostCheck } from './post-check.js';
import { checkPostOptions, type PostOptions } from './post-options.js';
import type { Reporter } from './reporter.js';
import type { Transport } from './transport.js';

const NO_OPTIONS: PostOptions = {};
const DELIVERED = Promise.resolve(true);
// A listener that posts to its own channel fills a queue, not the stack. Without this bound it would keep the process busy forever,
// where plain recursion would have failed. Posts after an `await` are not counted.
const MAX_DEPTH = 10_000;

/** Delivers the posts of this node: to its own listeners, and through the transport to other nodes. */
export class Outbound {
  private published = 0;

  /**
   * @param here - the properties that all messages of this node share
   * @param envelopes - how envelopes of this node are written
   * @param postCheck - may refuse messages for reasons other than their class
   * @param histories - the histories of channels; absent if the transport keeps none
   */
  constructor(
    private readonly audience: Audience,
    private readonly here: Origin,
    private readonly envelopes: Envelopes,
    private readonly transport: Transport | undefined,
    private readonly postCheck: PostCheck | undefined,
    private readonly histories: Histories | LocalHistoryStore | undefined,
    private readonly reporter: Reporter,
  ) {}

  /** See `Hub.post`. */
  post(channel: AnyPostableChannel, message: unknown, options?: PostOptions): Promise<boolean> {
    const isName = typeof channel === 'string';
    const name = isName ? channel : channel?.name;
    const { audience } = this;
    const list = audience.of(name);
    // The most common post: an instance of the class of the listeners' definition, or any message if there is no class; no rules anywhere.
    if (
      list === undefined ||
      list.plainVersion !== declarations.version ||
      (!isName && channel.definition !== list.definition) ||
      !(list.carriesAnything || isDirectly(message, list.definition!))
    ) {
      this.assertPostable(channel, list, message);
      this.postCheck?.assertValid(message, name);
      const history = audience.historyOf(name, isName ? list?.definition : channel.definition);
      if (history !== undefined) return this.append(name, message, options ?? NO_OPTIONS, history);
      if (list !== undefined) this.notePlain(list);
    }
    const isGlobal = options !== undefined && this.isGlobal(options, name);
    const outer = audience.current;
    const depth = outer === undefined ? 0 : depthUnder(outer, name);
    const delivery = new Delivery(message, name, this.here, Date.now(), depth);
    // Publishing comes before local delivery: a listener may post in turn, and its post must come later.
    const accepted = isGlobal ? this.publish(channel, delivery) : DELIVERED;
    audience.deliverPost(delivery, list);
    return accepted;
  }

  private publish(channel: AnyPostableChannel, delivery: Delivery): Promise<boolean> {
    const payload = this.payloadOf(delivery);
    const interop = typeof channel === 'string' ? undefined : channel.definition.options.interop;
    return this.transport!.publish(delivery.channel, payload, { interop, isLine: true });
  }

  private payloadOf({ channel: name, encoded, postedAt, forms }: Delivery): string {
    const serial = ++this.published;
    forms.serial = serial;
    const { prefix, signatures, maxMessageBytes } = this.envelopes;
    let payload = encodeEnvelope(name, prefix, { postedAt, serial }, encoded);
    if (signatures.isOn) payload = signatures.sign(name, payload);
    if (exceedsBytes(payload, maxMessageBytes)) {
      throw new LimitExceededError(
        `Channel ${quote(name)}: the message is longer than limits.maxMessageBytes (${maxMessageBytes})`,
      );
    }
    return payload;
  }

  private notePlain(list: ListenerList): void {
    const { name, definition, isReserved } = list;
    if (isReserved || this.postCheck?.mayRefuse === true || this.audience.historyOf(name, definition) !== undefined)
      return;
    list.carriesAnything = this.audience.classOf(name, list) === undefined;
    list.plainVersion = declarations.version;
  }

  private append(name: string, message: unknown, options: PostOptions, bounds: HistoryBounds): Promise<boolean> {
    checkPostOptions(options);
    const { id, global, scope } = options;
    if (scope === 'local' || global === false) {
      throw new ConfigurationError(
        `Channel ${quote(name)} has a history, and a history is the same on every server, so posts to it cannot be local; leave out the scope`,
      );
    }
    if ((scope === 'global' || global === true) && this.transport === undefined) throw new RedisNotEnabledError();
    const { histories, audience } = this;
    if (histories === undefined) throw new ConfigurationError(keepsNone(name));
    const outer = audience.current;
    const depth = outer === undefined ? 0 : depthUnder(outer, name);
    const delivery = new Delivery(message, name, this.here, Date.now(), depth);
    const payload = this.payloadOf(delivery);
    const post = id === undefined ? { payload } : { payload, id, digest: digestOf(delivery.encoded) };
    if (!(histories instanceof LocalHistoryStore)) return this.appendElsewhere(histories, name, post, bounds);
    const outcome = histories.appendNow(name, post, bounds);
    if (outcome.kind === 'refused') throw outcome.error;
    if (outcome.isKnown === true) return DELIVERED;
    delivery.forms.position = outcome.position;
    audience.deliverPost(delivery, audience.of(name));
    return DELIVERED;
  }

  private appendElsewhere(
    histories: Histories,
    name: string,
    post: HistoryPost,
    bounds: HistoryBounds,
  ): Promise<boolean> {
    const { audience } = this;
    const settled = histories.store.append(name, post, bounds);
    // Not awaited: of each post under way, an async function would keep half as much memory again.
    if (!audience.isHolding) return settled.then((outcome) => this.isAppended(name, outcome));
    return settled.then((outcome) => {
      if (outcome.kind === 'appended')
        audience.takeEarly({ payload: post.payload, channel: name, position: outcome.position });
      return this.isAppended(name, outcome);
    });
  }

  private isAppended(channel: string, outcome: AppendOutcome): boolean {
    if (outcome.kind === 'appended') return true;
    const { error } = outcome;
    if (error !== undefined) this.reporter.callbackFailed({ callback: 'A post', channel, error });
    return false;
  }

  private isGlobal(options: PostOptions, name: string): boolean {
    checkPostOptions(options);
    if (options.id !== undefined) {
      throw new ConfigurationError(`postMessage: option "id" needs a channel with history; ${quote(name)} keeps none`);
    }
    const { global, scope = global ? 'global' : 'local' } = options;
    if (scope === 'global' && this.transport === undefined) throw new RedisNotEnabledError();
    return scope !== 'local' && this.transport !== undefined;
  }

  /** @throws MessagingError if the channel cannot be posted to, or does not carry the message */
  private assertPostable(channel: AnyPostableChannel, list: ListenerList | undefined, message: unknown): void {
    const { audience } = this;
    if (channel instanceof Channel) {
      const { name, definition } = channel;
      if (list === undefined || list.definition !== definition) {
        audience.definitions.use(definition);
        // One room may have its own definition, even if the post names the template.
        assertPosted(message, list?.definition?.type, name);
      }
      if (!isDirectly(message, definition)) assertPosted(message, definition.type, name);
      return;
    }
    // Names with listeners are already checked, but the library itself listens to reserved names.
    if (list === undefined || typeof channel !== 'string' || list.isReserved) postableName(channel);
    if (list?.definition === undefined || !isDirectly(message, list.definition)) {
      assertPosted(message, audience.classOf(channel, list), channel);
    }
  }
}

/** How many posts lead to a post that a listener makes while it handles this message. */
function depthUnder(outer: Delivery, name: string): number {
  if (outer.depth >= MAX_DEPTH) {
    throw new LimitExceededError(
      `Channel ${quote(name)}: ${MAX_DEPTH} posts, each made by a listener of the post before it; this chain of listeners does not end`,
    );
  }
  return outer.depth + 1;
}
