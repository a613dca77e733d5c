import type { OptionCheck } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';

const MIN_LENGTH = 32;
const MAX_SECRETS = 10;

/**
 * Checks the module's option `secret`.
 *
 * @throws ConfigurationError that names the fault and never quotes the secret
 */
export const checkSecret: OptionCheck = (value) => {
  const problem = problemOf(value);
  if (problem === undefined) return undefined;
  throw new ConfigurationError(
    `MessagingModule: option "secret" must be a string of at least ${MIN_LENGTH} characters, as "openssl rand -base64 32" makes them, or an array of 1 to ` +
      `${MAX_SECRETS} of them; ${problem}`,
  );
};

function problemOf(value: unknown): string | undefined {
  if (!Array.isArray(value)) return problemOfOne(value, 'it');
  if (value.length === 0 || value.length > MAX_SECRETS) return `it has ${value.length}`;
  if (new Set(value).size < value.length) return 'it has one of them twice';
  const index = value.findIndex((each) => problemOfOne(each, '') !== undefined);
  return index < 0 ? undefined : problemOfOne(value[index], `item ${index}`);
}

function problemOfOne(value: unknown, name: string): string | undefined {
  if (typeof value !== 'string') return `${name} is no string, but ${value === null ? 'null' : typeof value}`;
  if (value.trim() !== value) return `${name} begins or ends with white space, as what is read from a file may`;
  return value.length < MIN_LENGTH ? `${name} has ${value.length}` : undefined;
}
