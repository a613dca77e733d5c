import { createHash } from 'node:crypto';
import { Templates } from '../core/templates.js';

/** How many of the latest denials about one channel or template are known. */
const LATEST = 32;
/** About how many channels and templates. */
const MAX_PLACES = 1_000;

/** How long the latest denials about one channel or template have taken, in milliseconds. */
interface Place {
  readonly name: string;
  readonly took: number[];
  next: number;
}

/**
 * Keeps clients from telling by their watch a channel that they may not have from one that does not exist: what is denied without
 * asking an authorizer takes as long as a denial by one.
 */
export class DenialTimes {
  private readonly byName = new Templates<Place>();
  private readonly places: Place[] = [];

  /** @param maxMs - no denial waits longer, in milliseconds */
  constructor(private readonly maxMs: number) {}

  /** An authorizer has denied. @param name - of the channel or template that it decides about @param ms - after how long */
  note(name: string, ms: number): void {
    let place = this.byName.get(name);
    if (place === undefined) {
      if (this.places.length === MAX_PLACES) return;
      place = { name, took: [], next: 0 };
      this.places.push(place);
      this.byName.add(place);
    }
    place.took[place.next] = ms;
    place.next = (place.next + 1) % LATEST;
  }

  /** Waits as long as a recent denial took, if there was one; before the denial of a channel that no authorizer decides about. */
  async wait(channel: string): Promise<void> {
    const took = this.placeLike(channel)?.took ?? [];
    const ms = Math.min(took[Math.floor(Math.random() * took.length)] ?? 0, this.maxMs);
    // Less is not told from the time that a turn of the loop takes.
    if (ms >= 1) await new Promise<void>((resolve) => void setTimeout(resolve, Math.floor(ms)).unref());
  }

  /**
   * A closed channel of a template takes as long as others of it. Any other name stands for one and the same place each time, since
   * times from all places would tell it from a name that is decided about. So do all names that begin alike, as the channels of one
   * template do: the sum of many of their times would be the same for all prefixes that do not exist.
   */
  private placeLike(channel: string): Place | undefined {
    const { places } = this;
    const [own] = this.byName.mostLiteral(channel);
    const [prefix = ''] = channel.split('/', 1);
    return own ?? places[createHash('sha256').update(prefix).digest().readUInt32BE() % places.length];
  }
}
