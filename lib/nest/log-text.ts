import { types } from 'node:util';
import { describe } from '../protocol/channel-name.js';
import { messageOf } from '../protocol/thrown.js';

const MAX_TEXT = 2_000;
const MAX_FRAMES = 50;
const MAX_FRAME = 500;
// Besides control characters what breaks a line or turns its direction: a log must show what it was given.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu;
const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** A text that may hold foreign input, as it may stand in one line of a log: escaped, and cut if it is too long. */
export function printable(text: string, maxLength = MAX_TEXT): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}… (${text.length} characters)` : text;
  return cut.replace(
    UNPRINTABLE,
    (character) => ESCAPES[character] ?? `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** What was thrown, in words. Takes any value, hostile ones too, and never throws. */
export function errorText(error: unknown): string {
  if (typeof error === 'string') return error;
  // A proxy may do anything when it is asked, so it is not.
  const message = types.isProxy(error) ? undefined : messageOf(error);
  if (message === undefined) return describe(error);
  return message === '' && isError(error) ? errorClass(error) : message;
}

/** The stack of an error in lines that a log may show: the frames are kept, the message is escaped. */
export function errorStack(error: unknown): string | undefined {
  const stack = isError(error) ? read(error, 'stack') : undefined;
  if (typeof stack !== 'string' || stack === '') return undefined;
  const message = messageOf(error) ?? '';
  const at = stack.indexOf(message);
  // The message may hold lines that look like frames.
  const [head, tail] = at < 0 ? ['', stack] : [stack.slice(0, at + message.length), stack.slice(at + message.length)];
  const frames = tail
    .split('\n', MAX_FRAMES * 2)
    .filter((line) => /^\s+at /.test(line))
    .slice(0, MAX_FRAMES)
    .map((line) => `    ${printable(line.trim(), MAX_FRAME)}`);
  return [printable(head || errorClass(error)), ...frames].join('\n');
}

/** The error's code if it is one of the library's, else its class: what tells kinds of failures apart. */
export function errorClass(error: unknown): string {
  if (!isError(error)) return typeof error;
  const code = read(error, 'code');
  if (typeof code === 'string' && /^[A-Z][A-Z_]{0,40}$/.test(code)) return code;
  const name: unknown = (read(error, 'constructor') as { name?: unknown } | undefined)?.name;
  return typeof name === 'string' ? printable(name, 100) : 'Error';
}

function isError(value: unknown): value is object {
  if (types.isNativeError(value)) return true;
  try {
    return !types.isProxy(value) && value instanceof Error;
  } catch {
    return false;
  }
}

/** A property that may be a getter of anybody's. */
function read(value: object, property: string): unknown {
  try {
    return (value as Record<string, unknown>)[property];
  } catch {
    return undefined;
  }
}
