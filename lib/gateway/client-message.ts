import type { Delivery } from '../core/delivery.js';
import type { LogEntry } from '../core/channel-log.js';
import { Frame, encodeFrame, type DropRule } from '../sse/frame.js';

/** A message as it is kept for returning clients. */
export interface ClientMessage {
  /** The frame for this library's client: a `MessageFrame` under the message's offset in its log. */
  readonly frame: Frame;
  /** The wire name of the message's class. */
  readonly type: string | undefined;
  /** The length of the `MessageFrame` text before the message itself. */
  readonly head: number;
}

/** A message or a gap in the log of a channel or template. */
export type ClientEntry = LogEntry<ClientMessage>;

// Line breaks occur only between JSON tokens, where they mean the same as a space.
const LINE_BREAK = /[\r\n]/g;

/**
 * Encodes a message for the clients of a feed.
 *
 * @param offset - its offset in the log or history; absent if it has none
 * @param template - the template of the feed, if it has one
 * @throws UnserializableError if it cannot be sent
 */
export function clientMessage(
  { channel, postedAt, encoded: { data, type, meta } }: Delivery,
  offset: number | undefined,
  template: string | undefined,
  dropRule: DropRule | undefined,
): ClientMessage {
  // Concatenated by hand, since its parts are already text.
  let head = `{"channel":${JSON.stringify(channel)},"at":${postedAt}`;
  if (template !== undefined) head += `,"template":${JSON.stringify(template)}`;
  if (type !== undefined) head += `,"type":${JSON.stringify(type)}`;
  if (meta !== undefined) head += `,"meta":${meta}`;
  head += ',"data":';
  const isOneLine = !data.includes('\n') && !data.includes('\r');
  const text = `${head}${isOneLine ? data : data.replace(LINE_BREAK, ' ')}}`;
  return { frame: frameOfText(text, offset, dropRule), type, head: head.length };
}

/** The frame for a `MessageFrame` that is one line of text. */
export function frameOfText(text: string, offset: number | undefined, dropRule?: DropRule): Frame {
  return new Frame(encodeFrame({ id: offset === undefined ? undefined : String(offset), data: text }), dropRule);
}

/** The text of the `MessageFrame` of a message. */
export function textOf({ frame: { bytes } }: ClientMessage, offset: number): string {
  return bytes.toString('utf8', `id: ${offset}\ndata: `.length, bytes.length - 2);
}

/** The message as an event for a native EventSource, without an `id`. */
export function nativeBytes(message: ClientMessage, offset: number): Buffer {
  const data = textOf(message, offset).slice(message.head, -1);
  return encodeFrame({ event: message.type, data });
}
