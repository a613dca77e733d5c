import { classOf } from './class-of.js';
import { InvalidChannelError } from './errors.js';
import { isObject } from './is-record.js';
import { nameOf } from './text-of.js';

/** The longest channel name, in UTF-16 code units, parameters filled in. */
export const MAX_CHANNEL_NAME_LENGTH = 255;

/** Names that begin with this belong to the library. */
export const RESERVED_PREFIX = 'messaging:';

const PARAMETER_NAME = /^[A-Za-z_]\w*$/;
// Control characters would let a name break a line of a log or of an event stream, a lone surrogate
// cannot be written as UTF-8, and `*` is kept free for patterns.
const FORBIDDEN = /[\p{Cc}\p{Cs}*]/u;

/**
 * Checks a channel name or template that an application gave.
 *
 * @returns the segments of a template, that is, of a name with a segment `:parameter`; `undefined` for any other name
 * @throws InvalidChannelError that names the fault
 */
export function checkChannelName(name: unknown): readonly string[] | undefined {
  if (typeof name !== 'string') {
    throw new InvalidChannelError(`A channel is a string or the result of defineChannel(), not ${describe(name)}`);
  }
  return checkName(name);
}

/** Like {@link checkChannelName} for what is known to be a text. */
export function checkName(name: string): readonly string[] | undefined {
  if (isReserved(name)) {
    refuse(name, `: names that begin with "${RESERVED_PREFIX}" are reserved`);
  }
  return checkSyntax(name);
}

/** Like {@link checkName} for a name whose reserved prefix the library itself has put there. */
export function checkSyntax(name: string): readonly string[] | undefined {
  if (!name || name.length > MAX_CHANNEL_NAME_LENGTH) {
    refuse(name, ` has ${name.length} characters; a name has 1 to ${MAX_CHANNEL_NAME_LENGTH}`);
  }
  const forbidden = FORBIDDEN.exec(name);
  if (forbidden) forbid(name, forbidden[0]);
  if (!isTemplate(name)) return undefined;
  const names = parameterNames(name);
  const wrong = names.find((parameter) => !PARAMETER_NAME.test(parameter));
  if (wrong !== undefined) {
    refuse(name, `: ":${wrong}" is no parameter; write one as in "rooms/:roomId"`);
  }
  if (new Set(names).size !== names.length) refuse(name, ' names a parameter twice');
  return name.split('/');
}

/** Whether a text that comes from elsewhere can be the name of a channel, its own or one of the library's. */
export function isChannelName(text: string): boolean {
  return text.length > 0 && text.length <= MAX_CHANNEL_NAME_LENGTH && !FORBIDDEN.test(text);
}

/** Whether a name, once its syntax has been checked, is a template. */
export function isTemplate(name: string): boolean {
  return name.startsWith(':') || name.includes('/:');
}

/** The parameters of a template in the order in which they stand: `rooms/:roomId` has `roomId`. */
function parameterNames(template: string): string[] {
  return template
    .split('/')
    .filter((segment) => segment.startsWith(':'))
    .map((segment) => segment.slice(1));
}

/**
 * Puts parameters into a template.
 *
 * @throws InvalidChannelError if one is missing, unknown, empty, or would change the number of segments
 */
export function fillTemplate(template: string, params: Readonly<Record<string, unknown>>): string {
  const expected = parameterNames(template);
  const unknown = Object.keys(params).find((name) => !expected.includes(name));
  if (unknown !== undefined) refuse(template, ` has no parameter "${unknown}"`);
  const filled = template
    .split('/')
    .map((segment) => (segment.startsWith(':') ? filledSegment(template, segment.slice(1), params) : segment))
    .join('/');
  checkSyntax(filled);
  return filled;
}

function filledSegment(template: string, name: string, params: Readonly<Record<string, unknown>>): string {
  const value = Object.hasOwn(params, name) ? params[name] : undefined;
  if (typeof value !== 'string' && !Number.isFinite(value)) {
    return refuse(template, ` needs its parameter "${name}" as a string or a number, not ${describe(value)}`);
  }
  const text = String(value);
  if (isReserved(template)) return encodeParameter(template, text);
  if (text === '' || text.includes('/') || text.startsWith(':')) {
    refuse(template, `: parameter "${name}" is ${quote(text)}; it must not be empty, contain "/" or begin with ":"`);
  }
  return text;
}

/**
 * A parameter of one of the library's own channels as it stands in the name. It is data of the application, a primary key for one, and
 * may hold anything; in the name it is one segment.
 *
 * @throws InvalidChannelError for a lone surrogate
 */
export function encodeParameter(template: string, text: string): string {
  try {
    return encodeURIComponent(text).replace(/\*/g, '%2A');
  } catch (cause) {
    return forbid(template, text, cause);
  }
}

function forbid(name: string, part: string, cause?: unknown): never {
  return refuse(name, ` contains ${quote(part)}, which is not allowed in a name`, cause);
}

function refuse(name: string, problem: string, cause?: unknown): never {
  throw new InvalidChannelError(`Channel ${quote(name)}${problem}`, cause ? { cause } : undefined);
}

function decodeParameter(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

function isReserved(name: string): boolean {
  return name.startsWith(RESERVED_PREFIX);
}

/**
 * Whether a name is of a template. Compares them segment by segment, in time linear in the name's length. The library's own channels are of
 * no template but its own, which name them by their first segment.
 */
export function isOfTemplate(template: readonly string[], name: readonly string[]): boolean {
  if (template.length !== name.length) return false;
  const isOwn = isReserved(template[0]!);
  for (let index = 0; index < template.length; index++) {
    const expected = template[index]!;
    const actual = name[index]!;
    if (expected.startsWith(':')) {
      if (actual === '' || (index === 0 && isReserved(actual))) return false;
      if (isOwn && decodeParameter(actual) === undefined) return false;
    } else if (expected !== actual) {
      return false;
    }
  }
  return true;
}

/** The parameters of a name that is of a template. */
export function paramsOf(template: readonly string[], name: readonly string[]): Record<string, string> {
  const isOwn = isReserved(template[0]!);
  // Without a prototype: a parameter may be called `constructor`.
  const params: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [index, segment] of template.entries()) {
    if (segment.startsWith(':')) params[segment.slice(1)] = isOwn ? decodeURIComponent(name[index]!) : name[index]!;
  }
  return params;
}

/** A name as it may stand in a log line or an error text: quoted, escaped, not too long. */
export function quote(name: string): string {
  const text = JSON.stringify(name);
  return text.length > 100 ? `${text.slice(0, 99)}…"` : text;
}

/** Describes a wrong value in a word or two, for error texts. Takes any value; never throws. */
export function describe(value: unknown): string {
  try {
    return describeSafe(value);
  } catch {
    // A proxy, or a getter.
    return 'a value that cannot be read';
  }
}

/**
 * The kind of a value, without the value: for incoming and outgoing data, because logs and errors must not show contents of messages.
 * Takes any value; never throws.
 */
export function kindOf(value: unknown): string {
  if (value === '') return 'an empty string';
  const holdsIt = typeof value !== 'object' && typeof value !== 'function' && value !== undefined;
  return holdsIt ? `a ${typeof value}` : describe(value);
}

function describeSafe(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return quote(value);
  if (isObject(value)) {
    const name = nameOf(classOf(value))?.slice(0, 100);
    return name && name !== 'Object' ? `an instance of ${name}` : 'an object';
  }
  if (typeof value === 'function') {
    const name = nameOf(value)?.slice(0, 100);
    return name ? `the function ${name}` : 'a function';
  }
  return String(value).slice(0, 100);
}
