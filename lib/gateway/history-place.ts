import type { GapReason, Position } from '../protocol/position.js';
import type { ChannelPosition, PositionEvent } from '../protocol/gateway.js';
import { Frame, encodeFrame } from '../sse/frame.js';

/** The prefix of epochs of clients' positions in a history. Epochs of node logs never begin with it. */
const PREFIX = 'h.';
/** Stands for the epoch if a number of last messages is requested. No epoch has this name. */
const LAST = 'last';
/** More messages than any history has. */
const MAX_LAST = 1_000_000;
/** The longest epoch of a history, in characters. */
const MAX_HISTORY_EPOCH_LENGTH = 40;

/** A position in a history, as clients see it. It needs no signature: any client with the channel may read its history. */
export function clientPosition({ epoch, offset }: Position): Position {
  return { epoch: PREFIX + epoch, offset };
}

/** The claim for a start in the past: a position, in the form of a client or a server, or a number of last messages. */
export function claimedBy(start: number | Position): Position {
  if (typeof start === 'number') return { epoch: LAST, offset: start };
  return start.epoch.startsWith(PREFIX) ? start : clientPosition(start);
}

/** The start in a history that a claim stands for; `undefined` if the claim is not about a history. */
export function startOf(proof: unknown, offset: number): number | Position | undefined {
  if (proof === LAST) return Math.min(offset, MAX_LAST);
  if (typeof proof !== 'string' || !proof.startsWith(PREFIX)) return undefined;
  if (proof.length > PREFIX.length + MAX_HISTORY_EPOCH_LENGTH) return undefined;
  return { epoch: proof.slice(PREFIX.length), offset };
}

/** Tells this library's client the position of a channel with history. @param gap - why earlier messages are missing, if any are */
export function positionFrame(channel: string, position: Position, gap?: GapReason): Frame {
  const told: ChannelPosition = { channel, position: clientPosition(position) };
  const channels = [gap === undefined ? told : { ...told, recovered: false, reason: gap }];
  return new Frame(
    encodeFrame({ event: 'messaging:position', data: JSON.stringify({ channels } satisfies PositionEvent) }),
  );
}
