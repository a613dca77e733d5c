import type { AuthenticationInfo } from '../protocol/authentication.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { MAX_CONNECTION_LENGTH, type SubscribeError } from '../protocol/gateway.js';
import { MAX_EPOCH_LENGTH, type Position } from '../protocol/position.js';
import {
  readAuth,
  readFlag,
  readList,
  readName,
  readObject,
  readText,
  readTuple,
  readWholeNumber,
} from '../protocol/wire-reader.js';
import { claimOf, type Claim } from './claim.js';
import type { DecisionAge } from './recent-ends.js';
import { readRenewal, type Renewal } from './renewal.js';
import { readListenerReplay, writeReplay, type ListenerReplay } from './replay-request.js';

/** Of how many channels one change may end the subscriptions; a client may name more than it has. */
export const MAX_UNSUBSCRIBED = 100_000;
/** By number, so that the answer to a change is never longer than the change was. */
const OUTCOMES: readonly (ChangeError | undefined)[] = [
  undefined,
  'CHANNEL_DENIED',
  'INVALID_CHANNEL',
  'LIMIT_EXCEEDED',
  'OVERRULED',
];

/** As for clients; or the application has ended the subscription meanwhile, so that it has to be decided about once more. */
type ChangeError = SubscribeError | 'OVERRULED';

/** A change of a connection as it goes to the node that holds it, decided upon by the node that was asked. */
export interface ConnectionChange {
  readonly connection: string;
  /** Who asked for the change; `null`: nobody. Another sign-in of the user that the connection belongs to is as good as that one. */
  readonly auth: AuthenticationInfo | null;
  /** What may be had with this sign-in. */
  readonly subscribe: readonly string[];
  /** How far the client says to have read them; those of our client, since a native EventSource changes nothing. */
  readonly claims: ReadonlyMap<string, Claim>;
  readonly unsubscribe: readonly string[];
  /** What of the past its listeners are to be sent. */
  readonly replays: readonly ListenerReplay[];
  /** If the connection is to go on with this sign-in. */
  readonly renewal?: Renewal | undefined;
  /** Of the decision what it may have. */
  readonly age: DecisionAge;
}

/** What became of a change; `null`: there is no such connection of this user. */
export type ChangeOutcome = {
  /** What each channel to subscribe to was refused as, in that order. */
  readonly errors: readonly (ChangeError | undefined)[];
  /** See {@link DecisionAge.after}. */
  readonly order: number;
  /** Whether the connection goes on with the sign-in of the change. */
  readonly isRenewed: boolean;
} | null;

/** As it goes back to the node that asked: mostly a list. */
export function writeChangeOutcome(outcome: ChangeOutcome): unknown {
  if (outcome === null) return null;
  const errors = outcome.errors.map((error) => OUTCOMES.indexOf(error));
  const { isRenewed: renewed, order } = outcome;
  return renewed || outcome.errors.includes('OVERRULED') ? { errors, renewed, order } : errors;
}

/** Whether a connection is that of a user, whatever the sign-in. One of nobody is anybody's who is not signed in and knows its id. */
export function isOf(auth: AuthenticationInfo | null, user: AuthenticationInfo | null): boolean {
  return auth === null || user === null ? auth === user : String(auth.userId) === String(user.userId);
}

/** As it goes to the node that holds the connection. */
export function writeConnectionChange({ claims, replays, ...change }: ConnectionChange): unknown {
  const positions = change.subscribe.map((name) => {
    const claim = claims.get(name);
    return typeof claim?.proof === 'string' ? [claim.proof, claim.offset] : null;
  });
  return { ...change, positions, ...(replays.length > 0 && { replays: replays.map(writeReplay) }) };
}

/**
 * @param maxNames - how many channels it may subscribe to
 * @throws InvalidMessageError for anything else
 */
export function readConnectionChange(value: unknown, maxNames: number): ConnectionChange {
  const { connection, auth, subscribe, positions, unsubscribe, replays, renewal, age } = readObject(value, 'a change');
  const names = readList(subscribe, 'what it subscribes to', maxNames, readName);
  // None from a node of the version before.
  const claims = readList(positions ?? [], 'its positions', names.length, readClaim);
  return {
    connection: readText(connection, 'its connection', MAX_CONNECTION_LENGTH),
    auth: readAuth(auth, 'its sign-in'),
    subscribe: names,
    claims: new Map(claims.flatMap((claim, index) => (claim === undefined ? [] : [[names[index]!, claim]]))),
    unsubscribe: readList(unsubscribe, 'what it unsubscribes from', MAX_UNSUBSCRIBED, readName),
    replays: readList(replays ?? [], 'what it wants of the past', maxNames, readListenerReplay),
    ...(renewal !== undefined && { renewal: readRenewal(renewal, maxNames) }),
    age: readAge(age),
  };
}

/**
 * @param count - how many channels the change subscribed to
 * @throws InvalidMessageError for anything else
 */
export function readChangeOutcome(value: unknown, count: number): ChangeOutcome {
  if (value === null) return null;
  if (!Array.isArray(value)) {
    const { errors, renewed, order } = readObject(value, 'the answer to a change');
    return {
      errors: readErrors(errors, count),
      isRenewed: readFlag(renewed, 'whether it was renewed'),
      order: readWholeNumber(order, 'how much was ended'),
    };
  }
  return { errors: readErrors(value, count), isRenewed: false, order: 0 };
}

function readErrors(value: unknown, count: number): readonly (ChangeError | undefined)[] {
  const errors = readList(value, 'the answer to a change', count, (item, path) => {
    const index = readWholeNumber(item, path);
    if (index < OUTCOMES.length) return OUTCOMES[index];
    throw new InvalidMessageError(`${path} has an unknown outcome`);
  });
  if (errors.length === count) return errors;
  throw new InvalidMessageError(`the answer to a change has ${errors.length} items in place of ${count}`);
}

function readAge(value: unknown): DecisionAge {
  const { tookMs, after } = readObject(value, 'the age of its decision');
  return {
    tookMs: readWholeNumber(tookMs, 'how long its decision took'),
    ...(after !== undefined && { after: readWholeNumber(after, 'what its decision came after') }),
  };
}

function readClaim(value: unknown, path: string): Claim | undefined {
  if (value === null) return undefined;
  const [epoch, offset] = readTuple(value, path, 2);
  const position: Position = { epoch: readText(epoch, path, MAX_EPOCH_LENGTH), offset: readWholeNumber(offset, path) };
  return claimOf(position);
}
