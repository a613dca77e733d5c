import { matchTemplate } from '../protocol/channel-name.js';
import type { ListenerList } from './listener-list.js';

/** Where some segments lead, and those that follow them. */
class Place {
  /** The templates that end here; they differ in what they call their parameters. */
  readonly lists = new Set<ListenerList>();
  private readonly literals = new Map<string, Place>();
  private parameter: Place | undefined = undefined;

  get isEmpty(): boolean {
    return this.lists.size === 0 && this.literals.size === 0 && this.parameter === undefined;
  }

  /** Where a template goes on. */
  get(segment: string): Place | undefined {
    return segment.startsWith(':') ? this.parameter : this.literals.get(segment);
  }

  /** Adds where a name may go on. */
  follow(segment: string, places: Place[]): void {
    const literal = this.literals.get(segment);
    if (literal !== undefined) places.push(literal);
    if (this.parameter !== undefined) places.push(this.parameter);
  }

  set(segment: string, next: Place | undefined): void {
    if (segment.startsWith(':')) this.parameter = next;
    else if (next === undefined) this.literals.delete(segment);
    else this.literals.set(segment, next);
  }
}

/**
 * The templates that are listened to, as a tree of their segments: however many there are, a name is compared only with
 * those that begin as it does.
 */
export class Templates {
  private readonly root = new Place();
  private readonly byName = new Map<string, ListenerList>();
  /** Changes whenever a template comes or goes. */
  version = 0;

  get isEmpty(): boolean {
    return this.byName.size === 0;
  }

  get(template: string): ListenerList | undefined {
    return this.byName.get(template);
  }

  add(list: ListenerList): void {
    let place = this.root;
    for (const segment of list.name.split('/')) {
      const next = place.get(segment) ?? new Place();
      place.set(segment, next);
      place = next;
    }
    place.lists.add(list);
    this.byName.set(list.name, list);
    this.version++;
  }

  remove(list: ListenerList): void {
    if (this.byName.get(list.name) !== list) return;
    removeBelow(this.root, list, list.name.split('/'));
    this.byName.delete(list.name);
    this.version++;
  }

  /** The lists of all templates that a name is of. */
  match(name: string): ListenerList[] {
    const segments = name.split('/');
    let places = [this.root];
    for (const segment of segments) {
      const next: Place[] = [];
      for (const place of places) place.follow(segment, next);
      if (next.length === 0) return [];
      places = next;
    }
    // That knows what else there is to it: empty segments, and the library's own names.
    return places.flatMap(({ lists }) =>
      [...lists].filter((list) => matchTemplate(list.name.split('/'), segments) !== undefined),
    );
  }
}

/** Takes a template out, and the places that lead nowhere without it. */
function removeBelow(place: Place, list: ListenerList, [segment, ...others]: readonly string[]): void {
  if (segment === undefined) {
    place.lists.delete(list);
    return;
  }
  const next = place.get(segment)!;
  removeBelow(next, list, others);
  if (next.isEmpty) place.set(segment, undefined);
}
