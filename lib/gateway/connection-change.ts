import type { AuthenticationInfo } from '../protocol/authentication.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { MAX_CONNECTION_LENGTH, type SubscribeError } from '../protocol/gateway.js';
import { MAX_EPOCH_LENGTH, type Position } from '../protocol/position.js';
import { readList, readName, readObject, readText, readTuple, readWholeNumber } from '../protocol/wire-reader.js';
import { claimOf, type Claim } from './claim.js';
import { readListenerReplay, writeReplay, type ListenerReplay } from './replay-request.js';

/** Of a user's id, which the application chooses. */
const MAX_USER_LENGTH = 10_000;
/** Of how many channels one change may end the subscriptions; a client may name more than it has. */
export const MAX_UNSUBSCRIBED = 100_000;
/** By number, so that the answer to a change is never longer than the change was. */
const OUTCOMES: readonly (SubscribeError | undefined)[] = [
  undefined,
  'CHANNEL_DENIED',
  'INVALID_CHANNEL',
  'LIMIT_EXCEEDED',
];

/** Whom a connection belongs to. */
export interface Owner {
  readonly userId: string | null;
  readonly authId: string | null;
}

/** A change of a connection as it goes to the node that holds it, decided upon by the node that was asked. */
export interface ConnectionChange {
  readonly connection: string;
  readonly owner: Owner;
  /** What this owner may have. */
  readonly subscribe: readonly string[];
  /** How far the client says to have read them; those of our client, since a native EventSource changes nothing. */
  readonly claims: ReadonlyMap<string, Claim>;
  readonly unsubscribe: readonly string[];
  /** What of the past its listeners are to be sent. */
  readonly replays: readonly ListenerReplay[];
}

/** What became of each channel to subscribe to, in that order; `null`: there is no such connection of this owner. */
export type ChangeOutcome = readonly (SubscribeError | undefined)[] | null;

/** As it goes back to the node that asked. */
export function writeChangeOutcome(outcome: ChangeOutcome): readonly number[] | null {
  return outcome && outcome.map((error) => OUTCOMES.indexOf(error));
}

export function ownerOf(auth: AuthenticationInfo | null): Owner {
  return { userId: auth === null ? null : String(auth.userId), authId: auth?.authId ?? null };
}

export function isOwnedBy({ userId, authId }: Owner, auth: AuthenticationInfo | null): boolean {
  const owner = ownerOf(auth);
  return owner.userId === userId && owner.authId === authId;
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
  const { connection, owner, subscribe, positions, unsubscribe, replays } = readObject(value, 'a change');
  const { userId, authId } = readObject(owner, 'its owner');
  const names = readList(subscribe, 'what it subscribes to', maxNames, readName);
  // None from a node of the version before.
  const claims = readList(positions ?? [], 'its positions', names.length, readClaim);
  return {
    connection: readText(connection, 'its connection', MAX_CONNECTION_LENGTH),
    owner: { userId: readOptional(userId, 'its user'), authId: readOptional(authId, 'its sign-in') },
    subscribe: names,
    claims: new Map(claims.flatMap((claim, index) => (claim === undefined ? [] : [[names[index]!, claim]]))),
    unsubscribe: readList(unsubscribe, 'what it unsubscribes from', MAX_UNSUBSCRIBED, readName),
    replays: readList(replays ?? [], 'what it wants of the past', maxNames, readListenerReplay),
  };
}

/**
 * @param count - how many channels the change subscribed to
 * @throws InvalidMessageError for anything else
 */
export function readChangeOutcome(value: unknown, count: number): ChangeOutcome {
  if (value === null) return null;
  const outcome = readList(value, 'the answer to a change', count, (item, path) => {
    const index = readWholeNumber(item, path);
    if (index < OUTCOMES.length) return OUTCOMES[index];
    throw new InvalidMessageError(`${path} has an unknown outcome`);
  });
  if (outcome.length === count) return outcome;
  throw new InvalidMessageError(`the answer to a change has ${outcome.length} items in place of ${count}`);
}

function readClaim(value: unknown, path: string): Claim | undefined {
  if (value === null) return undefined;
  const [epoch, offset] = readTuple(value, path, 2);
  const position: Position = { epoch: readText(epoch, path, MAX_EPOCH_LENGTH), offset: readWholeNumber(offset, path) };
  return claimOf(position);
}

function readOptional(value: unknown, path: string): string | null {
  return value === null ? null : readText(value, path, MAX_USER_LENGTH);
}
