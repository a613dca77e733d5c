import type { AuthenticationInfo } from '../protocol/authentication.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { readRules, writeRules, type RulesByName } from './channel-rule.js';
import { MAX_CONNECTION_LENGTH } from '../protocol/gateway.js';
import { readAuth, readList, readName, readObject, readText } from '../protocol/wire-reader.js';

/** Asks the node that holds a stream for its channels, to decide about a sign-in that should replace the stream's own. */
export interface RenewalQuestion {
  readonly connection: string;
  readonly auth: AuthenticationInfo;
}

/** The channels of a stream that its new sign-in may use, and those that it may not; others were not decided. */
export interface Renewal {
  readonly granted: readonly string[];
  readonly denied: readonly string[];
  /** The rules that grant them. */
  readonly rules: RulesByName;
}

/** @throws InvalidMessageError for an invalid value */
export function readRenewalQuestion(value: unknown): RenewalQuestion {
  const { connection, auth } = readObject(value, 'a question about a renewal');
  const signIn = readAuth(auth, 'its sign-in');
  if (signIn === null) throw new InvalidMessageError('a question about a renewal must have a sign-in');
  return { connection: readText(connection, 'its connection', MAX_CONNECTION_LENGTH), auth: signIn };
}

/**
 * @param maxNames - how many channels a stream may have
 * @returns the channels of the stream; `undefined` if this sign-in does not renew its own
 * @throws InvalidMessageError for an invalid value
 */
export function readRenewable(value: unknown, maxNames: number): readonly string[] | undefined {
  return value === null ? undefined : readList(value, 'what a stream has', maxNames, readName);
}

/** The renewal as it goes to the node that holds the stream. */
export function writeRenewal({ granted, denied, rules }: Renewal): unknown {
  return { granted, denied, rules: writeRules(granted, rules) };
}

/**
 * @param maxNames - how many channels a stream may have
 * @throws InvalidMessageError for an invalid value
 */
export function readRenewal(value: unknown, maxNames: number): Renewal {
  const { granted, denied, rules } = readObject(value, 'a renewal');
  const names = readList(granted, 'what it grants', maxNames, readName);
  return {
    granted: names,
    denied: readList(denied, 'what it denies', maxNames, readName),
    rules: readRules(rules, names),
  };
}
