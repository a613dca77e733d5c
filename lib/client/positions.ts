import type { Position } from '../protocol/position.js';

/**
 * How far each channel that the server has subscribed to was read, on this stream or one that broke off; `undefined` if the
 * server does not number messages.
 */
export type Positions = Map<string, Position | undefined>;

/** A place in the history of a channel as the application has it; `undefined` for any other position. */
export function placeOf(position: Position | undefined): Position | undefined {
  return position?.epoch.startsWith('h.') ? { epoch: position.epoch.slice(2), offset: position.offset } : undefined;
}

/** Whether a position is known to be no further than another one. */
export function isUpTo(position: Position | undefined, other: number | Position | undefined): boolean {
  const { epoch, offset } = (other ?? {}) as Partial<Position>;
  return position !== undefined && position.epoch === epoch && position.offset <= offset!;
}

/** What an event of a stream is about: the template by which it came, or the channel. */
interface Told {
  readonly channel?: string;
  readonly template?: string;
}

/** The name that was subscribed to. */
export function nameOf(told: unknown): string {
  const { channel, template } = (told ?? {}) as Told;
  return (template ?? channel)!;
}

/**
 * Goes on to a message or a gap.
 *
 * @param told - its data, which nobody has checked
 * @param id - its offset
 * @returns whether it is one that was not read before
 */
export function advance(positions: Positions, told: unknown, id: string | undefined): boolean {
  const name = nameOf(told);
  const position = positions.get(name);
  if (!position || !id) return true;
  const isNew = +id > position.offset;
  if (isNew) positions.set(name, { ...position, offset: +id });
  return isNew;
}
