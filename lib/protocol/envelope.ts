import { kindOf } from './channel-name.js';
import type { EncodedMessage } from './codec.js';
import { InvalidMessageError } from './errors.js';
import { isRecord } from './is-record.js';
import { sharedText } from './own-text.js';
import { MAX_NODE_LENGTH, MAX_TYPE_LENGTH, splitEnvelope } from './split-envelope.js';
import { readText, readWholeNumber } from './wire-reader.js';

/** The version of the envelope. A node drops, with a report, what says another. */
const ENVELOPE_VERSION = 1;

/** A message with its metadata, as it arrived. */
export interface Envelope {
  /** The message as plain JSON values. */
  readonly data: unknown;
  /** The data as its node wrote it; none if a stock client sent it. */
  readonly text?: string | undefined;
  readonly type?: string | undefined;
  readonly meta?: unknown;
  /** The node it was posted on; none if a stock client of Nest sent it. */
  readonly node?: string | undefined;
  /** When it was posted, in milliseconds since 1970; none if a stock client sent it. */
  readonly postedAt?: number | undefined;
  /** Tells it from the others that its node has published. */
  readonly serial?: number | undefined;
}

/**
 * Writes an envelope. It is a superset of the event packet of Nest's own Redis transport, so that stock
 * parts understand it: they read `pattern` and `data` and ignore the rest. The metadata comes first, so
 * that a node can tell its own envelopes by their first characters, without parsing them.
 *
 * @param prefix - the {@link envelopePrefix} of the node it is posted on
 */
export function encodeEnvelope(
  channel: string,
  prefix: string,
  { postedAt, serial }: { readonly postedAt: number; readonly serial: number },
  { type, meta, data }: EncodedMessage,
): string {
  if (channel !== lastParts.channel || type !== lastParts.type) lastParts = partsOf(channel, type);
  if (postedAt !== lastStart.postedAt || prefix !== lastStart.prefix) lastStart = startOf(prefix, postedAt);
  const { typePart, channelPart, plain } = lastParts;
  if (meta === undefined) return `${lastStart.text}${serial}${plain}${data}}`;
  return `${lastStart.text}${serial}${typePart},"meta":${meta}${channelPart}${data}}`;
}

/** How the last envelope began: many are posted in the same millisecond, and of all parts, a time takes the longest to write. */
let lastStart = startOf('', 0);

function startOf(prefix: string, postedAt: number) {
  return { prefix, postedAt, text: `${prefix},"at":${postedAt},"n":` };
}

/** The parts of the last envelope that were written from the channel and the class: most envelopes are of the same as the one before. */
let lastParts = partsOf('', undefined);

function partsOf(channel: string, type: string | undefined) {
  const typePart = type === undefined ? '' : `,"type":${JSON.stringify(type)}`;
  const channelPart = `},"pattern":${JSON.stringify(channel)},"data":`;
  return { channel, type, typePart, channelPart, plain: typePart + channelPart };
}

/** How every envelope that a node writes begins. */
export function envelopePrefix(node: string): string {
  return `{"metadata":{"v":${ENVELOPE_VERSION},"node":${JSON.stringify(node)}`;
}

/** Whether an envelope begins with the {@link envelopePrefix} of a node. */
export function hasPrefix(payload: string, prefix: string): boolean {
  // All envelopes begin alike, and mostly their nodes differ in the last character. startsWith() would compare character by character.
  const differing = prefix.length - 2;
  return payload.charCodeAt(differing) === prefix.charCodeAt(differing) && payload.slice(0, prefix.length) === prefix;
}

/**
 * Reads an envelope of ours, or a plain event packet of Nest's stock client.
 *
 * @throws InvalidMessageError that says what is wrong with it
 */
export function decodeEnvelope(payload: string): Envelope {
  return splitEnvelope(payload) ?? readPacket(parse(payload));
}

function readPacket(packet: unknown): Envelope {
  if (!isRecord(packet) || !Object.hasOwn(packet, 'pattern')) {
    throw new InvalidMessageError('it is no envelope: an object with "pattern" and "data" is expected');
  }
  if (Object.hasOwn(packet, 'id')) {
    throw new InvalidMessageError('it is a request (it has an "id"); only a @MessagePattern handler answers requests');
  }
  const metadata = packet['metadata'];
  if (!isRecord(metadata) || !Object.hasOwn(metadata, 'v')) {
    return { data: packet['data'] };
  }
  const known = readMetadata(metadata);
  // Written anew it is the same, since a machine has written it; but now, because the message is made of it.
  return { data: packet['data'], text: write(packet['data']), ...known };
}

/** Of each message something is kept or sent on for long: a text without a bound, or a number that JSON has not, would be too. */
function readMetadata({ v, node, at, n, type, meta }: Record<string, unknown>): Omit<Envelope, 'data' | 'text'> {
  if (v !== ENVELOPE_VERSION) {
    throw new InvalidMessageError(
      `its envelope has version ${typeof v === 'number' ? v : kindOf(v)}; this node reads version ${ENVELOPE_VERSION}`,
    );
  }
  // Logs keep node and type for longer than the rest.
  return {
    type: type === undefined ? undefined : sharedText(readText(type, '"type" in its metadata', MAX_TYPE_LENGTH)),
    meta,
    node: sharedText(readText(node, '"node" in its metadata', MAX_NODE_LENGTH)),
    postedAt: readWholeNumber(at, '"at" in its metadata'),
    // Not there if the node does not number what it publishes.
    serial: n === undefined ? undefined : readWholeNumber(n, '"n" in its metadata'),
  };
}

function parse(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch (error) {
    // The engine's error text quotes a part of it.
    throw new InvalidMessageError('it is not JSON', { cause: error });
  }
}

function write(data: unknown): string {
  try {
    return JSON.stringify(data);
  } catch (error) {
    throw new InvalidMessageError(`its data is nested too deeply: ${(error as Error).message}`, { cause: error });
  }
}
