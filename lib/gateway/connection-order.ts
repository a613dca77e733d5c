import type { SessionCloseReason } from '../core/session-close-reason.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { MAX_CONNECTION_LENGTH } from '../protocol/gateway.js';
import { InvalidMessageError } from '../protocol/errors.js';
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
import { RuleTable, readRuleIndexes, readRuleTable, type ChannelGrant, type ChannelRule } from './channel-rule.js';

/** The longest id of a user, in characters; the application chooses these ids. */
const MAX_USER_LENGTH = 10_000;
/** How many connections one answer may list. */
export const MAX_LISTED = 1_000;
/** More channels than any application lets one connection have. */
export const MAX_NAMES = 1_000_000;

/** One connection, or all connections of a user. */
export type ConnectionTarget = { readonly connection: string } | { readonly userId: string };

/** An action of the application on client connections. */
export type ConnectionOrder =
  /** Ends their subscription to a channel. */
  | { readonly kind: 'unsubscribe'; readonly target: ConnectionTarget; readonly channel: string }
  /** Ends them; for good, or until their clients come back. */
  | { readonly kind: 'disconnect'; readonly target: ConnectionTarget; readonly reconnect: boolean };

/** The close reason for the sessions that an order disconnects. */
export function reasonOf({ reconnect }: { readonly reconnect: boolean }): SessionCloseReason {
  return reconnect ? 'reconnect' : 'disconnected';
}

/** The connections that the application requests: those of a user, or those with a channel. */
export interface ConnectionQuery {
  readonly of: { readonly userId: string } | { readonly channel: string };
  /** How many to list at most. */
  readonly limit: number;
}

/** A client connection, as `ClientConnections.list` returns it. */
export interface ClientConnectionInfo {
  /** Its id, the same as `connection` of a `ClientConnectionChange`. */
  readonly connection: string;
  /** Who the client is; `null`: nobody. */
  readonly auth: AuthenticationInfo | null;
  /** The names of the channels and templates that it is subscribed to; in a list by `channel`, only that one. */
  readonly channels: readonly string[];
  /** How many more channels and templates it has that had no room in the answer of its server; absent if `channels` has all. */
  readonly moreChannels?: number;
  /** What granted each of `channels`, in the same order. Empty if a server of an earlier version holds the connection. */
  readonly grants: readonly ChannelGrant[];
}

/** The connections of one node. */
export interface ConnectionListing {
  readonly connections: readonly ClientConnectionInfo[];
  /** Whether there are more. */
  readonly more: boolean;
}

/** A question of one node to another about client connections. */
export type ConnectionQuestion = { readonly order: ConnectionOrder } | { readonly query: ConnectionQuery };

/** @throws InvalidMessageError for an invalid value */
export function readConnectionQuestion(value: unknown): ConnectionQuestion {
  const { order, query } = readObject(value, 'a question about connections');
  return order === undefined ? { query: readQuery(query) } : { order: readOrder(order) };
}

/**
 * @returns the number of connections that an order affected
 * @throws InvalidMessageError for an invalid value
 */
export function readCount(value: unknown): number {
  return readWholeNumber(value, 'the answer to an order');
}

/** The list as it goes to the node that asked. */
export function writeListing({ connections, more }: ConnectionListing): unknown {
  const table = new RuleTable();
  return { connections: connections.map((info) => writeInfo(info, table)), more, rules: table.all };
}

/** A connection as it goes to another node. @param table - receives its rules */
function writeInfo(info: ClientConnectionInfo, table: RuleTable): unknown {
  const { connection, auth, channels, moreChannels, grants } = info;
  const others = grants.flatMap((grant, index) => (grant.auth === auth ? [] : [[index, grant.auth] as const]));
  return {
    connection,
    auth,
    channels,
    ...(moreChannels !== undefined && { moreChannels }),
    rules: grants.map(({ rule }) => table.indexOf(rule)),
    ...(others.length > 0 && { grantedTo: others }),
  };
}

/** @throws InvalidMessageError for an invalid value */
export function readListing(value: unknown, limit: number): ConnectionListing {
  const { connections, more, rules } = readObject(value, 'a list of connections');
  const table = readRuleTable(rules ?? [], MAX_NAMES);
  return {
    connections: readList(connections, 'its connections', limit, (item, path) => readInfo(item, path, table)),
    more: readFlag(more, 'whether there are more'),
  };
}

function readOrder(value: unknown): ConnectionOrder {
  const { kind, target, channel, reconnect } = readObject(value, 'an order');
  if (kind === 'unsubscribe') return { kind, target: readTarget(target), channel: readName(channel, 'its channel') };
  if (kind === 'disconnect') {
    return { kind, target: readTarget(target), reconnect: readFlag(reconnect, 'whether clients come back') };
  }
  throw new InvalidMessageError('an order is of an unknown kind');
}

function readTarget(value: unknown): ConnectionTarget {
  const { connection, userId } = readObject(value, 'its target');
  if (connection === undefined) return { userId: readText(userId, 'its user', MAX_USER_LENGTH) };
  return { connection: readText(connection, 'its connection', MAX_CONNECTION_LENGTH) };
}

function readQuery(value: unknown): ConnectionQuery {
  const { of, limit } = readObject(value, 'a query');
  const { userId, channel } = readObject(of, 'what it asks for');
  const count = readWholeNumber(limit, 'its limit');
  if (count > MAX_LISTED) throw new InvalidMessageError(`its limit is more than ${MAX_LISTED}`);
  if (channel === undefined) return { of: { userId: readText(userId, 'its user', MAX_USER_LENGTH) }, limit: count };
  return { of: { channel: readName(channel, 'its channel') }, limit: count };
}

function readInfo(value: unknown, path: string, table: readonly ChannelRule[]): ClientConnectionInfo {
  const { connection, auth, channels, moreChannels, rules, grantedTo } = readObject(value, path);
  const own = readAuth(auth, `the sign-in of ${path}`);
  const names = readList(channels, `the channels of ${path}`, MAX_NAMES, readName);
  const others = new Map(readList(grantedTo ?? [], `the sign-ins of ${path}`, names.length, readGrantedTo));
  return {
    connection: readText(connection, `the id of ${path}`, MAX_CONNECTION_LENGTH),
    auth: own,
    channels: names,
    ...(moreChannels !== undefined && { moreChannels: readWholeNumber(moreChannels, `the other channels of ${path}`) }),
    // Nodes of the previous version send none.
    grants:
      rules === undefined
        ? []
        : readRuleIndexes(rules, names.length, table).map((rule, index) => ({
            channel: names[index]!,
            auth: others.get(index) ?? own,
            ...(rule !== undefined && { rule }),
          })),
  };
}

function readGrantedTo(value: unknown, path: string): readonly [number, AuthenticationInfo | null] {
  const [index, auth] = readTuple(value, path, 2);
  return [readWholeNumber(index, path), readAuth(auth, path)];
}
