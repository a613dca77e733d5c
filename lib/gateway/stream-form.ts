import type { Admission } from '../core/recovery.js';
import type { ChannelAnswer, ReplayAnswer, WithdrawalReason } from '../protocol/gateway.js';
import type { Position } from '../protocol/position.js';
import type { FeedPlace } from '../sse/feed.js';
import type { Frame } from '../sse/frame.js';
import type { Batch } from '../sse/batch.js';
import type { NativeProof } from './claim.js';
import type { ListenerReplays } from './replay-request.js';
import type { NativeReader } from './used-feed.js';
import type { HistoryEntrance } from './history-entrance.js';
import type { ChannelEntrance, Entrance } from './resume.js';

/** Takes the output of a stream. */
export interface StreamOutput {
  send(sent: Frame | Batch): void;
}

/** How a stream opens. */
export type Opening =
  /** For this library's client; `from` and `awayMs` as in `OpenRequest`. */
  | {
      readonly form: 'client';
      readonly from?: string | undefined;
      readonly awayMs?: number | undefined;
      /** The earlier messages that its listeners request. */
      readonly past?: ListenerReplays;
    }
  /** For a native EventSource; `proof` is the proof that it came back with. */
  | { readonly form: 'native'; readonly names: readonly string[]; readonly proof?: NativeProof | undefined };

/** The first information for a client. */
export interface Greeting {
  readonly connection: string;
  readonly heartbeatMs: number;
  /** About the requested channels. */
  readonly answers: readonly ChannelAnswer[];
  /** About the earlier messages that its listeners request. */
  readonly replays?: readonly ReplayAnswer[];
}

/** The answer about a channel that was lost again before the stream began. */
export function withoutLost(answer: ChannelAnswer, has: (channel: string) => boolean): ChannelAnswer {
  return answer.error !== undefined || has(answer.channel)
    ? answer
    : { channel: answer.channel, error: 'CHANNEL_DENIED' };
}

/** A channel or template of a stream, with the position up to which its client has everything. */
export type Place = { readonly name: string } &
  /** In the log of this node that the client was admitted to. */
  (
    | { readonly admission: Admission; readonly offset: number }
    /** In the history of the channel. */
    | Position
  );

/** The position from which a client continues after it has entered; `undefined` if it is not known yet. */
export function placeAfter(entrance: Entrance): Place | undefined {
  const { name } = entrance.feed;
  if ('admission' in entrance) return { name, admission: entrance.admission, offset: entrance.offset };
  return entrance.at && { name, ...entrance.at };
}

/** Writes the output of a stream. */
export interface StreamForm {
  /** The identity of a returning client; absent: the connection. */
  readonly returnsAs?: string;
  /** Writes the messages that a client has missed. */
  missed(entrance: Entrance): void;
  /**
   * Writes the positions from which the stream continues.
   *
   * @param entered - the feeds that it has from now on
   * @param had - requested channels that it already had
   */
  goOn(entered: readonly Entrance[], had: readonly Place[]): void;
  /** Writes the later entries of this node's own log. */
  rest(entrance: ChannelEntrance): void;
  /** Writes earlier messages for one listener of the client, if the form has listeners. @param isDone - whether this is the last page */
  replayed?(listener: string, page: HistoryEntrance, isDone: boolean): void;
  /** Writes that the stream has lost channels. Call it once the stream has begun. */
  withdrawn(channels: readonly string[], reason: WithdrawalReason): void;
  /** Writes that the stream's sign-in expires, if its client can renew it. @param leftMs - the time left, in milliseconds */
  expiring?(leftMs: number): void;
  /** The registration of the stream in a feed. */
  placeIn(name: string): FeedPlace | NativeReader;
}
