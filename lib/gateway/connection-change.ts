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
import { readRules, writeRules, type RulesByName } from './channel-rule.js';
import { claimOf, type Claim } from './claim.js';
import type { DecisionAge } from './recent-ends.js';
import { readRenewal, writeRenewal, type Renewal } from './renewal.js';
import { readListenerReplay, writeReplay, type ListenerReplay } from './replay-request.js';

/** How many subscriptions one change may end; a client may name more than it has. */
export const MAX_UNSUBSCRIBED = 100_000;
/** Sent as numbers, so that the answer to a change is never longer than the change. */
const OUTCOMES: readonly (ChangeError | undefined)[] = [
  undefined,
  'CHANNEL_DENIED',
  'INVALID_CHANNEL',
  'LIMIT_EXCEEDED',
  'OVERRULED',
];

/** The errors for clients; or the application has ended the subscription meanwhile, so that it must be decided again. */
type ChangeError = SubscribeError | 'OVERRULED';

/** A change of a connection, decided by the node that was asked, on its way to the node that holds the connection. */
export interface ConnectionChange {
  readonly connection: string;
  /** The sign-in that requested the change; `null`: anonymous. Any sign-in of the connection's user is valid. */
  readonly auth: AuthenticationInfo | null;
  /** Channels that this sign-in may use. */
  readonly subscribe: readonly string[];
  /** The rules that grant them. */
  readonly rules: RulesByName;
  /** How far the client says that it has read them. Only this library's client changes subscriptions, so these are never native claims. */
  readonly claims: ReadonlyMap<string, Claim>;
  readonly unsubscribe: readonly string[];
  /** The earlier messages to send to its listeners. */
  readonly replays: readonly ListenerReplay[];
  /** Set if the connection should continue with this sign-in. */
  readonly renewal?: Renewal | undefined;
  /** The age of the decision. */
  readonly age: DecisionAge;
}

/** The outcome of a change; `null`: this user has no such connection. */
export type ChangeOutcome = {
  /** The error for each requested channel, in that order. */
  readonly errors: readonly (ChangeError | undefined)[];
  /** See {@link DecisionAge.after}. */
  readonly order: number;
  /** Whether the connection continues with the sign-in of the change. */
  readonly isRenewed: boolean;
} | null;

/** The outcome as it goes back to the node that asked, as a compact list. */
export function writeChangeOutcome(outcome: ChangeOutcome): unknown {
  if (outcome === null) return null;
  const errors = outcome.errors.map((error) => OUTCOMES.indexOf(error));
  const { isRenewed: renewed, order } = outcome;
  return renewed || outcome.errors.includes('OVERRULED') ? { errors, renewed, order } : errors;
}

/**
 * Whether a connection belongs to a user, whatever the sign-in. An anonymous connection belongs to any anonymous client that knows its id.
 */
export function isOf(auth: AuthenticationInfo | null, user: AuthenticationInfo | null): boolean {
  return auth === null || user === null ? auth === user : String(auth.userId) === String(user.userId);
}

/** The change as it goes to the node that holds the connection. */
export function writeConnectionChange({ claims, replays, rules, renewal, ...change }: ConnectionChange): unknown {
  const positions = change.subscribe.map((name) => {
    const claim = claims.get(name);
    return typeof claim?.proof === 'string' ? [claim.proof, claim.offset] : null;
  });
  return {
    ...change,
    positions,
    rules: writeRules(change.subscribe, rules),
    ...(replays.length > 0 && { replays: replays.map(writeReplay) }),
    ...(renewal !== undefined && { renewal: writeRenewal(renewal) }),
  };
}

/**
 * @param maxNames - how many channels it may subscribe to
 * @throws InvalidMessageError for an invalid value
 */
export function readConnectionChange(value: unknown, maxNames: number): ConnectionChange {
  const { connection, auth, subscribe, positions, rules, unsubscribe, replays, renewal, age } = readObject(
    value,
    'a change',
  );
  const names = readList(subscribe, 'what it subscribes to', maxNames, readName);
  // Nodes of the previous version send no positions.
  const claims = readList(positions ?? [], 'its positions', names.length, readClaim);
  return {
    connection: readText(connection, 'its connection', MAX_CONNECTION_LENGTH),
    auth: readAuth(auth, 'its sign-in'),
    subscribe: names,
    rules: readRules(rules, names),
    claims: new Map(claims.flatMap((claim, index) => (claim === undefined ? [] : [[names[index]!, claim]]))),
    unsubscribe: readList(unsubscribe, 'what it unsubscribes from', MAX_UNSUBSCRIBED, readName),
    replays: readList(replays ?? [], 'what it wants of the past', maxNames, readListenerReplay),
    ...(renewal !== undefined && { renewal: readRenewal(renewal, maxNames) }),
    age: readAge(age),
  };
}

/**
 * @param count - how many channels the change subscribed to
 * @throws InvalidMessageError for an invalid value
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
