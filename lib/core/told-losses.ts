import type { Position } from '../protocol/position.js';
import type { OrderedChannel } from './ordered-channel.js';

/** Listeners that were told of a loss. */
export type Told = WeakSet<object>;

/** Where a channel was when a loss was told. */
interface Place {
  /** The position after its last message. */
  readonly last: Position;
  /** How far its new history had come before that, if it is known. */
  readonly end: Position | undefined;
}

/**
 * The latest loss that listeners of a template were told of. A gap names the template, so it stands for each of its channels that has
 * delivered nothing since: if their histories are gone too, that is the same loss.
 */
export class ToldLosses {
  /** Without channels that turned out to be whole. */
  private readonly places = new Map<string, Place>();
  /** How far new histories have come, as far as is known. */
  private readonly ends = new Map<string, Position>();
  private told: Told | 'all' = 'all';

  /** Call it when a loss is told, while the channels have their former positions. */
  note(channels: Iterable<OrderedChannel>, told: Told | 'all'): void {
    this.told = told;
    this.places.clear();
    for (const { name, position } of channels) {
      if (position !== undefined) this.places.set(name, { last: position, end: this.ends.get(name) });
    }
  }

  /** @param position - that of the store. If it is of the same history, the next loss of the channel is another one */
  see({ name, position: last }: OrderedChannel, position: Position): void {
    if (last?.epoch === position.epoch) this.places.delete(name);
    else this.ends.set(name, position);
  }

  /** Called when a channel is no longer tracked. */
  forget({ name }: OrderedChannel): void {
    this.places.delete(name);
    this.ends.delete(name);
  }

  /** Called after an interruption: later losses are new ones, since messages may have been missed. */
  clear(): void {
    this.places.clear();
    this.ends.clear();
  }

  /**
   * @param from - where a channel goes on whose history is gone
   * @param isBranch - whether the channel has delivered everything of the new history up to there
   * @returns the listeners that know of this loss; `undefined`: none, or messages of the new history may have been lost since
   */
  of({ name, position }: OrderedChannel, from: Position, isBranch: boolean): Told | 'all' | undefined {
    const { last, end } = this.places.get(name) ?? {};
    const lostTo = end?.epoch === from.epoch ? end.offset : 0;
    return last !== undefined && last === position && (isBranch || from.offset <= lostTo) ? this.told : undefined;
  }
}
