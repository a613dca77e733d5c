import type { ErrorCode } from '../protocol/error-codes.js';
import type { ChannelAnswer } from '../protocol/gateway.js';
import type { Position } from '../protocol/position.js';
import type { ClientStatus } from './client-status.js';
import type { Past, Replayed } from './link.js';
import type { Positions } from './positions.js';

/** What a tab tells the one that leads. */
export type TabNote =
  /** What it wants, and how far it has read; what it no longer wants; that it goes. */
  | {
      readonly kind: 'want';
      readonly tab: string;
      readonly channels: readonly string[];
      readonly positions?: Positions | undefined;
    }
  | { readonly kind: 'drop'; readonly tab: string; readonly channel: string }
  | { readonly kind: 'gone'; readonly tab: string }
  /** What of the past one of its listeners wants; nothing any more. */
  | { readonly kind: 'replay'; readonly listener: string; readonly past?: Past | undefined }
  | { readonly kind: 'retry' }
  /** Whether somebody leads. */
  | { readonly kind: 'ask' };

/** What the tab that leads tells all. Errors do not survive the way; their codes and texts do. */
export type LeaderNote =
  /** It begins to lead, and waits for what the tabs want and for what its predecessor has told last. */
  | { readonly kind: 'lead' }
  /** From now on only it is to be heard. How far all channels are read. */
  | { readonly kind: 'begin'; readonly positions: Positions }
  /** It still leads. */
  | { readonly kind: 'here' }
  | { readonly kind: 'answer'; readonly answer: ChannelAnswer; readonly position: Position | undefined }
  | { readonly kind: 'left'; readonly channel: string }
  | { readonly kind: 'message'; readonly frame: unknown; readonly id: string | undefined }
  | { readonly kind: 'gap'; readonly gap: unknown }
  | { readonly kind: 'replayed'; readonly told: Replayed }
  | {
      readonly kind: 'status';
      readonly status: Omit<ClientStatus, 'error'>;
      readonly error: { readonly code: ErrorCode; readonly message: string } | undefined;
      /** The only tab that it is for; absent if it is for all. */
      readonly tab?: string | undefined;
      /** For that tab: how far all channels are read. */
      readonly positions?: Positions | undefined;
    };

/** What goes from tab to tab. */
export type Note = TabNote | (LeaderNote & { readonly from: string });
