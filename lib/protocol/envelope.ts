import { kindOf } from './channel-name.js';
import type { EncodedMessage } from './codec.js';
import { InvalidMessageError } from './errors.js';
import { isRecord } from './is-record.js';
import { sharedText } from './own-text.js';
import { splitEnvelope } from './split-envelope.js';
import { readText, readWholeNumber } from './wire-reader.js';

/** The version of the envelope. A node drops, with a report, what says another. */
const ENVELOPE_VERSION = 1;
/** Of the id of a node, in characters; those that nodes give themselves have 36. */
export const MAX_NODE_LENGTH = 100;
const MAX_TYPE_LENGTH = 255;

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
  message: EncodedMessage,
): string {
  let text = `${prefix},"at":${postedAt},"n":${serial}`;
  if (message.type !== undefined) text += `,"type":${JSON.stringify(message.type)}`;
  if (message.meta !== undefined) text += `,"meta":${message.meta}`;
  return `${text}},"pattern":${JSON.stringify(channel)},"data":${message.data}}`;
}

/** How every envelope that a node writes begins. */
export function envelopePrefix(node: string): string {
  return `{"metadata":{"v":${ENVELOPE_VERSION},"node":${JSON.stringify(node)}`;
}

/**
 * Reads an envelope of ours, or a plain event packet of Nest's stock client.
 *
 * @throws InvalidMessageError that says what is wrong with it
 */
export function decodeEnvelope(payload: string): Envelope {
  const split = splitEnvelope(payload);
  const packet: unknown = split?.packet ?? parse(payload);
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
  const text = split?.text ?? write(packet['data']);
  return { data: packet['data'], text, ...known };
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
