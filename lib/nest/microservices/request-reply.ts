import { reservedChannel, type Channel } from '../../protocol/channel.js';

// Requests travel on one channel a pattern, replies on one channel a client, both as ordinary messages.

/** A request, on the channel of its pattern. Every server that answers the pattern gets it. */
export interface RequestMessage {
  readonly id: string;
  readonly data: unknown;
  /** The {@link replyChannel} of the client. */
  readonly replyTo: string;
}

/** Says that the answers to a request are wanted no more, on the channel of its pattern. */
export interface StopMessage {
  readonly id: string;
  readonly stop: true;
  /** The one whose answers are still wanted. */
  readonly except?: string;
}

/** What travels on the channel of a pattern. */
export type RequestPacket = RequestMessage | StopMessage;

/** One answer of the several that a request may have. */
export interface ReplyMessage {
  /** Of the request. */
  readonly id: string;
  /** Who answers: the same in all answers of one stream. */
  readonly from: string;
  readonly response?: unknown;
  readonly err?: unknown;
  /** Whether it is the last one. */
  readonly isDisposed?: boolean;
}

const ADDRESS = /^[\w-]{1,64}$/;

export function isRequest(packet: unknown): packet is RequestMessage {
  if (!isObject(packet)) return false;
  const { id, replyTo } = packet as Partial<RequestMessage>;
  return isAddress(id) && isAddress(replyTo);
}

export function isStop(packet: unknown): packet is StopMessage {
  if (!isObject(packet)) return false;
  const { id, stop, except } = packet as Partial<StopMessage>;
  return stop === true && isAddress(id) && (except === undefined || isAddress(except));
}

export function isReply(packet: unknown): packet is ReplyMessage {
  if (!isObject(packet)) return false;
  const { id, from } = packet as Partial<ReplyMessage>;
  return isAddress(id) && isAddress(from);
}

/** Where a client takes replies. The address is a part of a channel's name, and may have come over the wire. */
export function replyChannel(address: string): Channel<ReplyMessage> {
  return reservedChannel<ReplyMessage>(`reply/${address}`) as Channel<ReplyMessage>;
}

function isAddress(value: unknown): value is string {
  return typeof value === 'string' && ADDRESS.test(value);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
