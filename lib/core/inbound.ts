import { MAX_CHANNEL_NAME_LENGTH, RESERVED_PREFIX } from '../protocol/channel-name.js';
import type { Codec } from '../protocol/codec.js';
import { decodeEnvelope, hasPrefix } from '../protocol/envelope.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { exceedsBytes } from '../protocol/limits.js';
import { isInstance } from '../protocol/message-class.js';
import type { GapReason, Position } from '../protocol/position.js';
import { typeName } from '../protocol/serializable.js';
import type { Audience } from './audience.js';
import { notCarried } from './class-guard.js';
import { Delivery } from './delivery.js';
import type { Envelopes } from './envelopes.js';
import type { Histories } from './histories.js';
import type { HistoryEntry, HistoryRead } from './history-store.js';
import type { ListenerList } from './listener-list.js';
import type { DeliveriesRead } from './replay.js';
import type { Reporter } from './reporter.js';
import type { Signatures } from './signatures.js';

/** Receives what other nodes publish, and passes valid messages to the listeners of this node. */
export class Inbound {
  private rejected = 0;

  private readonly ownPrefix: string;
  private readonly maxMessageBytes: number;
  private readonly signatures: Signatures;

  constructor(
    private readonly audience: Audience,
    private readonly codec: Codec,
    { prefix, maxMessageBytes, signatures }: Envelopes,
    private readonly reporter: Reporter,
    private readonly histories: Histories | undefined,
  ) {
    this.ownPrefix = prefix;
    this.maxMessageBytes = maxMessageBytes;
    this.signatures = signatures;
  }

  /** How many messages could not be delivered, since the start. */
  get rejectedCount(): number {
    return this.rejected;
  }

  /** See `TransportReceiver`. Invalid messages are reported and dropped. */
  receive(payload: string, subscription: string, channel: string, position?: Position): void {
    if (position !== undefined) {
      // Anybody may have replayed a recorded message there; the library reads its own histories from the store.
      if (channel.startsWith(RESERVED_PREFIX)) return this.reject(channel, notOfHistory());
      // The last listener may just have gone.
      if (!this.audience.hears(subscription)) return;
      if (this.audience.keepsHistory(subscription, channel)) {
        this.histories?.receive(payload, subscription, channel, position);
        return;
      }
      // Another server may have a definition that this one lacks. Without a history here, it is an ordinary message.
    }
    // Local listeners got it when it was posted.
    if (hasPrefix(payload, this.ownPrefix)) return;
    this.deliver(payload, subscription, channel, undefined);
  }

  /**
   * Delivers to the listeners of one subscription, in the order of calls.
   *
   * @returns `false` for an invalid message, which has been reported
   */
  deliver(payload: string, subscription: string, channel: string, position: Position | undefined): boolean {
    const list = this.audience.of(subscription);
    const template = list === undefined ? this.audience.ofTemplate(subscription) : undefined;
    const heard = list ?? template;
    if (heard === undefined) return true;
    let delivery: Delivery;
    try {
      delivery = this.read(payload, channel, heard, template?.name, position);
    } catch (error) {
      this.reject(channel, error as Error);
      return false;
    }
    this.audience.deliver(delivery, template === undefined ? list : this.audience.of(channel));
    return true;
  }

  /** Turns entries of a channel's history into deliveries for one reader. */
  replay({ entries, ...read }: HistoryRead, channel: string): DeliveriesRead {
    const { epoch, offset } = read.next;
    const deliveries = entries.map((entry) => this.replayed(entry, epoch, channel));
    const from = { epoch, offset: offset - entries.length };
    return { ...read, from, deliveries: deliveries.filter((each) => each !== undefined) };
  }

  /** @returns `undefined` for an invalid message, which has been reported */
  private replayed({ payload, offset }: HistoryEntry, epoch: string, channel: string): Delivery | undefined {
    const heard = this.audience.of(channel) ?? { name: channel, isReserved: channel.startsWith(RESERVED_PREFIX) };
    try {
      return this.read(payload, channel, heard, undefined, { epoch, offset }, true);
    } catch (error) {
      this.reject(channel, error as Error);
      return undefined;
    }
  }

  /** See `TransportRejection`. */
  reject(channel: string, error: Error): void {
    this.rejected++;
    this.reporter.messageRejected({ channel, error });
  }

  /** See `TransportLoss`. */
  lose(subscription: string, reason: GapReason, forMs?: number): void {
    if (this.histories?.lost(subscription, forMs) === true) return;
    this.audience.tellGap(subscription, reason);
  }

  /** @throws MessagingError for an invalid message */
  private read(
    payload: string,
    channel: string,
    heard: Pick<ListenerList, 'name' | 'isReserved'> & Partial<Pick<ListenerList, 'definition'>>,
    template: string | undefined,
    position: Position | undefined,
    replayed = false,
  ): Delivery {
    if (exceedsBytes(payload, this.maxMessageBytes)) {
      throw new InvalidMessageError(`it is longer than limits.maxMessageBytes (${this.maxMessageBytes})`);
    }
    // Redis allows names of any length, and records of a message contain its channel's name.
    if (channel.length > MAX_CHANNEL_NAME_LENGTH) throw new InvalidMessageError('the name of its channel is too long');
    const { codec } = this;
    const envelope = decodeEnvelope(
      heard.isReserved ? this.signatures.open(payload, heard.name, channel, replayed) : payload,
    );
    const type = this.audience.classOf(heard.name, heard);
    // A stock Redis client cannot name the class, so the channel's class applies.
    const foreignType = envelope.node === undefined ? type && typeName(type) : undefined;
    const message = codec.decode(envelope.data, envelope.type ?? foreignType, envelope.meta);
    if (type !== undefined && !isInstance(message, type)) throw notCarried(message, type);
    const { node = '', postedAt = Date.now(), serial } = envelope;
    return new Delivery(
      message,
      channel,
      {
        origin: 'global',
        node,
        isOwn: hasPrefix(payload, this.ownPrefix),
        codec,
        serial,
        envelope,
        position,
        replayed,
      },
      postedAt,
      0,
      template,
    );
  }
}

function notOfHistory(): InvalidMessageError {
  return new InvalidMessageError(
    'it came as part of a history, but this channel has none; somebody may have sent it again',
  );
}
