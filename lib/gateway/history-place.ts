import type { GapReason, Position } from '../protocol/position.js';
import type { ChannelPosition, PositionEvent } from '../protocol/gateway.js';
import { Frame, encodeFrame } from '../sse/frame.js';

/** What the epochs of clients' positions in a history begin with; those of the logs of nodes begin otherwise. */
const PREFIX = 'h.';
/** The longest epoch of a history, in characters. */
export const MAX_HISTORY_EPOCH_LENGTH = 40;

/** A place in a history, as clients are told it. It needs no signature: whoever may have the channel may read its history. */
export function clientPosition({ epoch, offset }: Position): Position {
  return { epoch: PREFIX + epoch, offset };
}

/** The place in a history that a client claims; `undefined` if what it claims is not of a history. */
export function historyPositionOf(proof: unknown, offset: number): Position | undefined {
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
