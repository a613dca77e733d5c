import type { Delivery } from '../core/delivery.js';
import type { LogEntry } from '../core/channel-log.js';
import { Frame, encodeFrame, type DropRule } from '../sse/frame.js';

/** A message as it is kept for clients that come back. */
export interface ClientMessage {
  /** As our client is sent it: a `MessageFrame` under the offset that the message has in its log. */
  readonly frame: Frame;
  /** The wire name of the message's class. */
  readonly type: string | undefined;
  /** How much of the text of the `MessageFrame` stands before the message itself. */
  readonly head: number;
}

/** A message or a gap in the log of a channel or template. */
export type ClientEntry = LogEntry<ClientMessage>;

// Between the tokens of JSON, where alone they may stand, they mean as little as a space.
const LINE_BREAK = /[\r\n]/g;

/**
 * A message as the clients of a feed are sent it.
 *
 * @param offset - its place in the log or history; none if it has none there
 * @param template - that of the feed, if it is of one
 * @throws UnserializableError if it cannot travel
 */
export function clientMessage(
  { channel, postedAt, encoded: { data, type, meta } }: Delivery,
  offset: number | undefined,
  template: string | undefined,
  dropRule: DropRule | undefined,
): ClientMessage {
  // By hand, since its parts are texts already.
  let head = `{"channel":${JSON.stringify(channel)},"at":${postedAt}`;
  if (template !== undefined) head += `,"template":${JSON.stringify(template)}`;
  if (type !== undefined) head += `,"type":${JSON.stringify(type)}`;
  if (meta !== undefined) head += `,"meta":${meta}`;
  head += ',"data":';
  const isOneLine = !data.includes('\n') && !data.includes('\r');
  const text = `${head}${isOneLine ? data : data.replace(LINE_BREAK, ' ')}}`;
  return { frame: frameOfText(text, offset, dropRule), type, head: head.length };
}

/** The frame of a `MessageFrame` that is one line of text. */
export function frameOfText(text: string, offset: number | undefined, dropRule?: DropRule): Frame {
  return new Frame(encodeFrame({ id: offset === undefined ? undefined : String(offset), data: text }), dropRule);
}

/** The text of the `MessageFrame` that a message was made of. */
export function textOf({ frame: { bytes } }: ClientMessage, offset: number): string {
  return bytes.toString('utf8', `id: ${offset}\ndata: `.length, bytes.length - 2);
}

/** A message as a native EventSource is sent it, without an `id`. */
export function nativeBytes(message: ClientMessage, offset: number): Buffer {
  const data = textOf(message, offset).slice(message.head, -1);
  return encodeFrame({ event: message.type, data });
}
