import { RESERVED_PREFIX, quote } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import type { GapEvent } from '../protocol/gateway.js';

const LINE_BREAK_OR_NUL = /[\r\n\0]/;
const OWN_FIELD = `a string without CR, LF and NUL that does not begin with "${RESERVED_PREFIX}"`;

/** The fields of one event (HTML Living Standard, 9.2.6). */
export interface FrameFields {
  /** The event's name; without one, a browser dispatches it as `message`. */
  readonly event?: string | undefined;
  /** The value that a browser sends as `Last-Event-ID` when it reconnects. */
  readonly id?: string | undefined;
  /** Any text; line breaks in it arrive as `\n`. */
  readonly data: string;
  /** How long a browser waits before it reconnects. */
  readonly retryMs?: number | undefined;
}

/**
 * The one function that writes events.
 *
 * @throws ConfigurationError for an event name or id with a line break, which would let data become another
 *   event, or with NUL, for which a browser ignores the id
 */
export function encodeFrame({ event, id, data, retryMs }: FrameFields): Buffer {
  let text = '';
  if (event !== undefined) text += `event: ${checkField('event', event)}\n`;
  if (id !== undefined) text += `id: ${checkField('id', id)}\n`;
  if (retryMs !== undefined) text += `retry: ${Math.round(retryMs)}\n`;
  for (const line of data.split(/\r\n|\r|\n/)) text += `data: ${line}\n`;
  return Buffer.from(`${text}\n`);
}

/** How a frame may be dropped while it waits for a slow reader. A frame without a rule may not be dropped. */
export interface DropRule {
  readonly channel: string;
  /** Of frames with the same channel and key, the latest is enough. Without a key, any may be dropped, the oldest first. */
  readonly key?: string | number | undefined;
  /** The template through which readers have the channel, if they do not have it by name. */
  readonly template?: string | undefined;
  /** The `id` of the frame. A gap in its place gets the same id. */
  readonly id?: string | undefined;
}

/** Output of an event stream, encoded once for all receivers. */
export class Frame {
  constructor(
    readonly bytes: Buffer,
    readonly dropRule?: DropRule,
  ) {}
}

/** Tells readers that messages of a channel may be missing here. */
export function gapFrame(gap: GapEvent, id?: string, dropRule?: DropRule): Frame {
  return new Frame(encodeFrame({ event: 'messaging:gap', id, data: JSON.stringify(gap) }), dropRule);
}

/** Replaces a frame, and earlier ones of its channel, that a slow reader does not get. It may be dropped in the same way. */
export function droppedFrame(rule: DropRule): Frame {
  const { channel, template, id } = rule;
  const gap = { channel, ...(template !== undefined && { template }), reason: 'slow-consumer' } as const;
  return gapFrame(gap, id, rule);
}

/**
 * A comment. It keeps the connection busy, and pages do not see it. One line end without an empty line, of which some clients would make
 * an empty message (@microsoft/fetch-event-source 2.0.1).
 */
export const COMMENT_FRAME: Buffer = Buffer.from(':\n');

/**
 * The id of the last event of a stream that must not be resumed. A browser always reconnects after a stream ends; it then sends this id,
 * gets 204, and stops. The server need not remember anything.
 */
export const END_ID = 'messaging:end';

/** Ends a stream that is complete. */
export const END_FRAME: Buffer = encodeFrame({ event: 'messaging:end', id: END_ID, data: '{}' });

/** Ends a stream whose authentication was revoked. */
export const REVOKED_FRAME: Buffer = encodeFrame({ event: 'messaging:revoked', id: END_ID, data: '{}' });

/** Ends a stream of a server that shuts down. The browser comes back after this time, to another server. */
export function drainFrame(retryMs: number): Buffer {
  return encodeFrame({ event: 'messaging:drain', retryMs, data: '{}' });
}

/** Ends a stream whose sign-in has expired. The browser comes back after this time, with its sign-in of that moment. */
export function expiredFrame(retryMs: number): Buffer {
  return encodeFrame({ event: 'messaging:expired', retryMs, data: '{}' });
}

/** The error text for an invalid event name. A browser's EventSource uses `error` and `open` itself. */
export function eventField(event: unknown): string | undefined {
  if (event === 'error' || event === 'open') return 'another name, since every EventSource has events of this name';
  return isOwnField(event) ? undefined : OWN_FIELD;
}

/** The error text for an invalid event id. */
export function idField(id: unknown): string | undefined {
  return isOwnField(id) ? undefined : OWN_FIELD;
}

function isOwnField(value: unknown): boolean {
  return typeof value === 'string' && !LINE_BREAK_OR_NUL.test(value) && !value.startsWith(RESERVED_PREFIX);
}

function checkField(field: string, value: string): string {
  if (LINE_BREAK_OR_NUL.test(value)) {
    throw new ConfigurationError(`The field "${field}" of an event must not contain CR, LF or NUL: ${quote(value)}`);
  }
  return value;
}
