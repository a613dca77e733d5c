// What travels between a client and the gateway. docs/to-the-browser.md lists it for those who write a client of their own.

/** A channel that a client wants, by its name. */
interface ChannelRequest {
  readonly channel: string;
}

/** Body of `POST {path}`, which opens a stream. */
export interface OpenRequest {
  readonly channels: readonly (ChannelRequest & {
    /** Whether the stream that broke off had it, so that what was sent after `position` is wanted too. */
    readonly recover?: boolean;
  })[];
  /** How far a stream that broke off was read: the position of its `messaging:ready`, with the `id` of its last event, if there was one, in place of the number. */
  readonly position?: string;
}

/** Body of `POST {path}/{connection}/channels`, which changes an open stream. Unsubscribing comes first. */
export interface ChangeRequest {
  readonly subscribe?: readonly ChannelRequest[];
  /** Names. */
  readonly unsubscribe?: readonly string[];
}

/**
 * Why a client has not been subscribed to a channel.
 *
 * - `CHANNEL_DENIED`: there is no such channel for clients, or not for this one; which of them is not said
 * - `INVALID_CHANNEL`: no channel could have this name
 * - `LIMIT_EXCEEDED`: the connection has as many subscriptions as it may have
 */
export type SubscribeError = 'CHANNEL_DENIED' | 'INVALID_CHANNEL' | 'LIMIT_EXCEEDED';

/** What became of one channel that was asked for; without `error` it is subscribed to. */
export interface ChannelAnswer {
  readonly channel: string;
  readonly error?: SubscribeError;
  /** Where `recover` was asked for: whether all that was missed has come. */
  readonly recovered?: boolean;
}

/** Answer to a {@link ChangeRequest}: the channels to subscribe to, in the order in which they were asked for. */
export interface ChangeAnswer {
  readonly channels: readonly ChannelAnswer[];
}

/**
 * Data of the event `messaging:ready`, once on each stream. Messages may come before it: what was missed, then what has been
 * posted meanwhile. Whoever wants to recover takes them as read when it has come.
 */
export interface ReadyEvent {
  /** Names the stream in a {@link ChangeRequest}; unguessable. */
  readonly connection: string;
  /** How often a comment comes on an idle stream; 0: never. */
  readonly heartbeatMs: number;
  /** How far the stream has come: the id of its node and a number, with a dot between. */
  readonly position: string;
  readonly channels: readonly ChannelAnswer[];
}

/** Data of an event without a name: a message. */
export interface MessageFrame {
  readonly channel: string;
  /** The template that was subscribed to, where the message comes by that. */
  readonly template?: string;
  /** When it was posted, in milliseconds since 1970. */
  readonly at: number;
  /** As in `EncodedMessage`, but not as text within the text. */
  readonly type?: string;
  readonly meta?: unknown;
  readonly data: unknown;
}
