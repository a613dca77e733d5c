import type { GapReason, Position } from './position.js';
import type { ReplayOption } from './replay.js';

// The data between a client and the gateway. docs/protocol.md specifies it.

/** The longest id of a connection that is looked at, in characters; a server's own are shorter. */
export const MAX_CONNECTION_LENGTH = 100;

/** How many heartbeats long a stream may be silent before our client doubts that it lives. */
export const SILENT_HEARTBEATS = 1.5;

/** For how long nothing may come of a stream that is in doubt, in milliseconds; our client then takes it for dead. */
export const PROBE_MS = 1_500;

/** A channel that a client wants, by its name. */
export interface ChannelRequest {
  readonly channel: string;
  /**
   * How far a stream that broke off was read. Says that what came after is wanted too. Anything else than a position that a
   * server has handed out for this channel to this user costs a gap, never an error.
   */
  readonly position?: Position;
  /**
   * What of the past of a channel with history is wanted, before what comes; `position`, if there is one, goes before it.
   * Refused as `CONFIGURATION` for a channel without history, for a template, and for more messages than the channel keeps.
   */
  readonly replay?: ReplayOption;
  /**
   * Beside `replay`: whoever the past is for, as the client calls it. The past then comes between two {@link ReplayEvent}s,
   * page by page; the channel itself goes on, or begins, as without it. Requests of several listeners may name one channel.
   */
  readonly listener?: string;
}

/** The longest {@link ChannelRequest.listener} that is looked at, in characters. */
export const MAX_LISTENER_LENGTH = 100;

/** The answer to a request with a `listener`. Without `error`, the earlier messages follow. */
export interface ReplayAnswer {
  readonly listener: string;
  readonly error?: 'CONFIGURATION';
  /** Says what is wrong. */
  readonly message?: string;
}

/**
 * Data of the event `messaging:replay`, which stands before and after each page of the past of one listener. Messages between the two
 * are for this one alone.
 */
export interface ReplayEvent {
  readonly channel: string;
  readonly listener: string;
  /** The messages of the page come after it, or before it. */
  readonly position: Position;
  /** Before a page: why messages are missing before it, if any are. */
  readonly reason?: GapReason;
  /** After a page: whether the listener has all that the stream had; what comes is for it, too. */
  readonly done?: boolean;
}

/** Body of `POST {path}`, which opens a stream. */
export interface OpenRequest {
  readonly channels: readonly ChannelRequest[];
  /** The connection that broke off, as its `messaging:ready` named it. A server that leaves waits for its clients by this. */
  readonly from?: string;
  /**
   * Since when the client has read nothing: milliseconds since the last byte of any stream. If its former server is gone, it is let in the
   * sooner, the longer this is.
   */
  readonly awayMs?: number;
}

/**
 * Body of `POST {path}/{connection}/channels`, which changes an open stream. Unsubscribing comes first. The stream then
 * gets a {@link PositionEvent} for the channels that it has from now on.
 */
export interface ChangeRequest {
  readonly subscribe?: readonly ChannelRequest[];
  /** Names. */
  readonly unsubscribe?: readonly string[];
  /**
   * Whether the sign-in of this request, of the same user and lasting longer, takes the place of the one that the stream was opened
   * with. The server then decides again which of the stream's channels the client may have; see {@link ExpiringEvent}.
   */
  readonly renew?: boolean;
}

/**
 * Why a client has not been subscribed to a channel.
 *
 * - `CHANNEL_DENIED`: there is no such channel for clients, or not for this one; which of them is not said
 * - `INVALID_CHANNEL`: no channel could have this name
 * - `LIMIT_EXCEEDED`: the connection has as many subscriptions as it may have
 * - `CONFIGURATION`: `replay` cannot be had of it, as the answer's `message` says
 */
export type SubscribeError = 'CHANNEL_DENIED' | 'INVALID_CHANNEL' | 'LIMIT_EXCEEDED' | 'CONFIGURATION';

/** The answer about one requested channel. Without `error`, the client is subscribed to it. */
export interface ChannelAnswer {
  readonly channel: string;
  readonly error?: SubscribeError;
  /** Says more of a `CONFIGURATION` error. */
  readonly message?: string;
}

/** Answer to a {@link ChangeRequest}: the channels to subscribe to, in the order in which they were asked for. */
export interface ChangeAnswer {
  readonly channels: readonly ChannelAnswer[];
  /** Beside `renew`: whether the stream goes on with the sign-in of the request. */
  readonly renewed?: boolean;
  /** To the requests with a `listener`; a server that knows of none says nothing. */
  readonly replays?: readonly ReplayAnswer[];
}

/** From where a channel goes on in a stream, in an event that stands in the order of the messages. */
export interface ChannelPosition {
  /** The name or template that was subscribed to. */
  readonly channel: string;
  /**
   * The next message of this channel in the stream comes after it: its `id` is a higher offset, of this epoch. What was
   * missed stands before this event, with offsets of the epoch that was asked with.
   */
  readonly position: Position;
  /**
   * There if a position was asked with, unless the stream had the channel already: whether everything after that position has
   * come (a `messaging:gap` among it tells what no server has). `false`: messages may be missing, which is told by this
   * alone, with its {@link reason}.
   */
  readonly recovered?: boolean;
  /** Beside `recovered: false`. */
  readonly reason?: GapReason;
}

/** A channel in `messaging:ready`: subscribed to and its position, or refused. */
type ReadyChannel =
  (ChannelPosition & { readonly error?: never }) | (ChannelAnswer & { readonly error: SubscribeError });

/** Data of the event `messaging:ready`, once on each stream. What was missed comes before it. */
export interface ReadyEvent {
  /** Names the stream in a {@link ChangeRequest}; unguessable. */
  readonly connection: string;
  /** How often a comment comes on an idle stream; 0: never. */
  readonly heartbeatMs: number;
  /** For clients from before there were positions of channels: with it they tell gaps when they come back. */
  readonly position?: string;
  readonly channels: readonly (ReadyChannel | ChannelAnswer)[];
  /** As in {@link ChangeAnswer}. */
  readonly replays?: readonly ReplayAnswer[];
}

/**
 * Data of the event `messaging:position`: after each change, for all channels that it subscribed to, also those that the
 * stream had. It may come before or after the answer to the change.
 */
export interface PositionEvent {
  readonly channels: readonly ChannelPosition[];
}

/**
 * Why subscriptions of an open stream have ended.
 *
 * - `ended`: the application ended them (`ClientConnections.unsubscribe`)
 * - `revoked`, `expired`: the sign-in that they were granted to is no longer valid, and is not the one of the stream
 * - `denied`: a renewed sign-in may not have them
 */
export type WithdrawalReason = 'ended' | 'revoked' | 'expired' | 'denied';

/** Data of the event `messaging:withdrawn`: the subscriptions of the stream to these channels have ended. A client may ask for them again. */
export interface WithdrawnEvent {
  readonly channels: readonly string[];
  readonly reason: WithdrawalReason;
}

/**
 * Data of the event `messaging:expiring`: the sign-in that the stream was opened with expires. Unless a {@link ChangeRequest} with `renew`
 * comes first, the stream then ends with `messaging:expired`, and its client comes back. The event is sent again after half of the time
 * that is left.
 */
export interface ExpiringEvent {
  /** How long the sign-in lasts, in milliseconds. */
  readonly leftMs: number;
}

/**
 * Data of the event `messaging:gap`: messages may be missing here. Its `id`, if it has one, is its offset like that of a
 * message: the channel goes on after it, in the same epoch.
 */
export interface GapEvent {
  readonly channel: string;
  /** The template that was subscribed to, if the gap comes by that and is of one of its channels. */
  readonly template?: string;
  readonly reason: GapReason;
}

/**
 * Data of an event without a name: a message. The event's `id` is the message's offset in the channel that was subscribed
 * to (`template`, else `channel`).
 */
export interface MessageFrame {
  readonly channel: string;
  /** The template that was subscribed to, if the message comes by one. */
  readonly template?: string;
  /** When it was posted, in milliseconds since 1970. */
  readonly at: number;
  /** As in `EncodedMessage`, but not as text within the text. */
  readonly type?: string;
  readonly meta?: unknown;
  readonly data: unknown;
}
