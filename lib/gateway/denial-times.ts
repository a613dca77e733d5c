import { createHash } from 'node:crypto';
import { Templates } from '../core/templates.js';

/** How many recent denials are remembered for each channel or template. */
const LATEST = 32;
/** For roughly how many channels and templates. */
const MAX_PLACES = 1_000;

/** The durations of the latest denials for one channel or template, in milliseconds. */
interface Place {
  readonly name: string;
  readonly took: number[];
  next: number;
}

/**
 * Hides by timing whether a channel exists: a denial that calls no authorizer takes as long as one that does.
 */
export class DenialTimes {
  private readonly byName = new Templates<Place>();
  private readonly places: Place[] = [];

  /** @param maxMs - the longest wait of a denial, in milliseconds */
  constructor(private readonly maxMs: number) {}

  /** Notes the denial of an authorizer. @param name - the channel or template that it decides about @param ms - its duration */
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

  /** Waits as long as a recent denial took, if there was one. Call it before denying a channel without an authorizer. */
  async wait(channel: string): Promise<void> {
    const took = this.placeLike(channel)?.took ?? [];
    const ms = Math.min(took[Math.floor(Math.random() * took.length)] ?? 0, this.maxMs);
    // A shorter wait disappears in the time of a turn of the event loop.
    if (ms >= 1) await new Promise<void>((resolve) => void setTimeout(resolve, Math.floor(ms)).unref());
  }

  /**
   * A closed channel of a template takes as long as other channels of it. Every other name always maps to the same place, since a name
   * with times from all places would differ from a name with an authorizer. Names with the same beginning share a place, like the
   * channels of one template: otherwise the sum of many of their times would be the same for all prefixes that do not exist.
   */
  private placeLike(channel: string): Place | undefined {
    const { places } = this;
    const [own] = this.byName.mostLiteral(channel);
    const [prefix = ''] = channel.split('/', 1);
    return own ?? places[createHash('sha256').update(prefix).digest().readUInt32BE() % places.length];
  }
}
