import type { GapReason, Position } from '../protocol/position.js';
import type { ChannelPosition, PositionEvent } from '../protocol/gateway.js';
import { Frame, encodeFrame } from '../sse/frame.js';

/** What the epochs of clients' positions in a history begin with; those of the logs of nodes begin otherwise. */
const PREFIX = 'h.';
/** Stands in the place of an epoch with so many of the last messages; no epoch is called that. */
const LAST = 'last';
/** No history has more messages. */
const MAX_LAST = 1_000_000;
/** The longest epoch of a history, in characters. */
const MAX_HISTORY_EPOCH_LENGTH = 40;

/** A place in a history, as clients are told it. It needs no signature: whoever may have the channel may read its history. */
export function clientPosition({ epoch, offset }: Position): Position {
  return { epoch: PREFIX + epoch, offset };
}

/** What a client would claim that begins somewhere in the past: at a position, as a client or a server is told it, or before the last messages. */
export function claimedBy(start: number | Position): Position {
  if (typeof start === 'number') return { epoch: LAST, offset: start };
  return start.epoch.startsWith(PREFIX) ? start : clientPosition(start);
}

/** Where in a history a client begins that claims this; `undefined` if what it claims is not of a history. */
export function startOf(proof: unknown, offset: number): number | Position | undefined {
  if (proof === LAST) return Math.min(offset, MAX_LAST);
  if (typeof proof !== 'string' || !proof.startsWith(PREFIX)) return undefined;
  if (proof.length > PREFIX.length + MAX_HISTORY_EPOCH_LENGTH) return undefined;
  return { epoch: proof.slice(PREFIX.length), offset };
}

/** Tells our clients from where a channel with history goes on. @param gap - why messages before are missing, if any are */
export function positionFrame(channel: string, position: Position, gap?: GapReason): Frame {
  const told: ChannelPosition = { channel, position: clientPosition(position) };
  const channels = [gap === undefined ? told : { ...told, recovered: false, reason: gap }];
  return new Frame(
    encodeFrame({ event: 'messaging:position', data: JSON.stringify({ channels } satisfies PositionEvent) }),
  );
}
