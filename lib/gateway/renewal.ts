import type { AuthenticationInfo } from '../protocol/authentication.js';
import { InvalidMessageError } from '../protocol/errors.js';
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

/**
 * @param maxNames - how many channels a stream may have
 * @throws InvalidMessageError for an invalid value
 */
export function readRenewal(value: unknown, maxNames: number): Renewal {
  const { granted, denied } = readObject(value, 'a renewal');
  return {
    granted: readList(granted, 'what it grants', maxNames, readName),
    denied: readList(denied, 'what it denies', maxNames, readName),
  };
}
