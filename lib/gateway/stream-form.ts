import type { Admission } from '../core/recovery.js';
import type { ChannelAnswer, ReplayAnswer, WithdrawalReason } from '../protocol/gateway.js';
import type { Position } from '../protocol/position.js';
import type { FeedPlace } from '../sse/feed.js';
import type { Frame } from '../sse/frame.js';
import type { Batch } from '../sse/batch.js';
import type { NativeReader } from './used-feed.js';
import type { HistoryEntrance } from './history-entrance.js';
import type { ChannelEntrance, Entrance } from './resume.js';

/** Takes what goes over a stream. */
export type Send = (sent: Frame | Batch) => void;

/** What a client is told first. */
export interface Greeting {
  readonly connection: string;
  readonly heartbeatMs: number;
  /** To the channels that were asked for. */
  readonly answers: readonly ChannelAnswer[];
  /** To what its listeners want of the past. */
  readonly replays?: readonly ReplayAnswer[];
}

/** What a client is told of a channel that it has lost again before its stream has begun. */
export function withoutLost(answer: ChannelAnswer, has: (channel: string) => boolean): ChannelAnswer {
  return answer.error !== undefined || has(answer.channel)
    ? answer
    : { channel: answer.channel, error: 'CHANNEL_DENIED' };
}

/** A channel or template that a stream has, and how far its client has been sent it. */
export type Place = { readonly name: string } &
  /** In the log of this node that the client is let in to. */
  (
    | { readonly admission: Admission; readonly offset: number }
    /** In the history of the channel. */
    | Position
  );

/** From where a client goes on that has entered; `undefined` if that is not known yet. */
export function placeAfter(entrance: Entrance): Place | undefined {
  const { name } = entrance.feed;
  if ('admission' in entrance) return { name, admission: entrance.admission, offset: entrance.offset };
  return entrance.at && { name, ...entrance.at };
}

/** How a stream writes what a client gets. */
export interface StreamForm {
  /** How its client is recognized when it comes back; without this, by the connection. */
  readonly returnsAs?: string;
  /** Writes what a client has missed that enters a feed. */
  missed(entrance: Entrance): void;
  /**
   * Writes from where the stream goes on.
   *
   * @param entered - the feeds that it has from now on
   * @param had - those of them that were asked for and that it has already
   */
  goOn(entered: readonly Entrance[], had: readonly Place[]): void;
  /** Writes what comes after it of this node's own log. */
  rest(entrance: ChannelEntrance): void;
  /** Writes a page of the past for one listener of the client, if the form knows of listeners. @param isDone - whether it was the last */
  replayed?(listener: string, page: HistoryEntrance, isDone: boolean): void;
  /** Writes that the stream has lost channels. To be called once it has begun. */
  withdrawn(channels: readonly string[], reason: WithdrawalReason): void;
  /** Writes that the stream's sign-in expires, if its client can renew it. @param leftMs - when, in milliseconds from now */
  expiring?(leftMs: number): void;
  /** What the stream is in a feed. */
  placeIn(name: string): FeedPlace | NativeReader;
}
