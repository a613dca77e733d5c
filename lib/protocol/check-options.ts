import { describe, quote } from './channel-name.js';
import { ConfigurationError } from './errors.js';
import { isRecord } from './is-record.js';

/**
 * Says what a value should have been; `false` or `undefined` if it is right.
 *
 * @throws ConfigurationError that names a part of the value, if only that is wrong
 */
export type OptionCheck = (value: unknown, path: string) => string | false | undefined;

export const flag: OptionCheck = (value) => typeof value !== 'boolean' && 'true or false';

export const callback: OptionCheck = (value) => typeof value !== 'function' && 'a function';

export const text: OptionCheck = (value) => typeof value !== 'string' && 'a string';

/**
 * @param kind - its items, in the plural
 * @param one - one of them, with its article
 */
export function arrayOf(kind: string, one: string, isFit: (item: unknown) => boolean): OptionCheck {
  return (value, path) => {
    if (!Array.isArray(value)) return `an array of ${kind}`;
    for (const [index, item] of value.entries()) {
      // Named by its index: if modules import each other in a circle, a class may still be undefined.
      if (!isFit(item)) throw new ConfigurationError(`${path}[${index}] must be ${one}, not ${describe(item)}`);
    }
    return undefined;
  };
}

export const strings: OptionCheck = /* @__PURE__ */ arrayOf('strings', 'a string', (item) => typeof item === 'string');

export const classes: OptionCheck = /* @__PURE__ */ arrayOf('classes', 'a class', (item) => typeof item === 'function');

/** One of a few texts. */
export function oneOf(...texts: string[]): OptionCheck {
  return (value) => !texts.includes(value as string) && `one of ${texts.map(quote).join(', ')}`;
}

/** Of whatever realm or polyfill it is. */
export const abortSignal: OptionCheck = (value) =>
  typeof (value as Partial<AbortSignal> | null)?.aborted !== 'boolean' && 'an AbortSignal';

/** Whether a value is a whole number, exact and of at least so much. */
export function isWhole(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

/** At least one of something. It has no upper limit: no timer takes it, and nothing is allocated for it. */
export const atLeastOne: OptionCheck = (value) => !isWhole(value, 1) && 'a whole number of at least 1';

/** Timers of Node hold no more than 31 bits. Written out, because bundlers keep an unused calculation. */
export const MAX_TIMER_MS = 2_147_483_647;

/** A number of things; or of what the option's name ends in, which the error says. */
export function wholeNumber(least: number, most = MAX_TIMER_MS): OptionCheck {
  return (value, path) => {
    // First: a symbol cannot be compared.
    const isInteger = Number.isInteger(value);
    const isLarge = isInteger && (value as number) > most;
    if (isInteger && !isLarge && (value as number) >= least) return undefined;
    const unit = path.endsWith('Ms') ? ', in milliseconds' : path.endsWith('Bytes') ? ', in bytes' : '';
    return `a whole number of ${isLarge ? `at most ${most}` : `at least ${least}`}${unit}`;
  };
}

/**
 * Checks options by name. One that is `undefined` counts as not given.
 *
 * @param path - the call or option that the options belong to, for the error
 * @returns `undefined`, so that it may be the check of an option that holds options
 * @throws ConfigurationError that names the option, and for an unknown one the options that there are
 */
export function checkOptions(options: unknown, path: string, checks: Readonly<Record<string, OptionCheck>>): undefined {
  for (const [option, value] of Object.entries(readOptions(options, path))) {
    const check = Object.hasOwn(checks, option) && checks[option];
    if (!check) {
      throw new ConfigurationError(
        `${path}: unknown option "${option}"; the options are: ${Object.keys(checks).join(', ')}`,
      );
    }
    const expected = value !== undefined && check(value, `${path}: ${option}`);
    if (expected) {
      throw new ConfigurationError(`${path}: option "${option}" must be ${expected}, not ${describe(value)}`);
    }
  }
  return undefined;
}

/** Removes options that are `undefined`, which would hide the defaults of another library. */
export function givenOptions<T extends object>(options: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [Name in keyof T]: Exclude<T[Name], undefined>;
  };
}

/**
 * Reads each option once: those that are given by getters too.
 *
 * @throws ConfigurationError for anything but an object, and for one that cannot be read
 */
export function readOptions(options: unknown, path: string): Record<string, unknown> {
  if (!isRecord(options)) {
    throw new ConfigurationError(`${path}: the options must be an object, not ${describe(options)}`);
  }
  try {
    return { ...options };
  } catch (cause) {
    throw new ConfigurationError(`${path}: the options cannot be read`, { cause });
  }
}

/**
 * Makes checks that read parts of a value safe for any value: proxies, and getters that throw. Apart from {@link checkOptions}, because
 * pages have no room for it.
 */
export function readable(checks: Readonly<Record<string, OptionCheck>>): Record<string, OptionCheck> {
  const safe = (check: OptionCheck): OptionCheck => {
    return (value, path) => {
      try {
        return check(value, path);
      } catch (cause) {
        throw cause instanceof ConfigurationError ? cause : new ConfigurationError(`${path} cannot be read`, { cause });
      }
    };
  };
  return Object.fromEntries(Object.entries(checks).map(([option, check]) => [option, safe(check)]));
}
