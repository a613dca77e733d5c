import { matchTemplate } from '../protocol/channel-name.js';

/** Something under the name of a template. */
interface Named {
  readonly name: string;
}

/** Where some segments lead, and those that follow them. */
class Place<T> {
  /** What ends here; their templates differ in what they call their parameters. */
  readonly items = new Set<T>();
  private readonly literals = new Map<string, Place<T>>();
  private parameter: Place<T> | undefined = undefined;

  get isEmpty(): boolean {
    return this.items.size === 0 && this.literals.size === 0 && this.parameter === undefined;
  }

  /** Where a template goes on. */
  get(segment: string): Place<T> | undefined {
    return segment.startsWith(':') ? this.parameter : this.literals.get(segment);
  }

  /** Adds where a name may go on, the literal way first. */
  follow(segment: string, places: Place<T>[]): void {
    const literal = this.literals.get(segment);
    if (literal !== undefined) places.push(literal);
    if (this.parameter !== undefined) places.push(this.parameter);
  }

  set(segment: string, next: Place<T> | undefined): void {
    if (segment.startsWith(':')) this.parameter = next;
    else if (next === undefined) this.literals.delete(segment);
    else this.literals.set(segment, next);
  }
}

/**
 * Templates, those that are listened to for one, as a tree of their segments: however many there are, a name is compared only with
 * those that begin as it does.
 */
export class Templates<T extends Named> {
  private readonly root = new Place<T>();
  private readonly byName = new Map<string, T>();
  /** Changes whenever a template comes or goes. */
  version = 0;

  get isEmpty(): boolean {
    return this.byName.size === 0;
  }

  get(template: string): T | undefined {
    return this.byName.get(template);
  }

  add(item: T): void {
    let place = this.root;
    for (const segment of item.name.split('/')) {
      const next = place.get(segment) ?? new Place<T>();
      place.set(segment, next);
      place = next;
    }
    place.items.add(item);
    this.byName.set(item.name, item);
    this.version++;
  }

  remove(item: T): void {
    if (this.byName.get(item.name) !== item) return;
    removeBelow(this.root, item, item.name.split('/'));
    this.byName.delete(item.name);
    this.version++;
  }

  /** What is under all templates that a name is of. */
  match(name: string): T[] {
    const segments = name.split('/');
    let places = [this.root];
    for (const segment of segments) {
      const next: Place<T>[] = [];
      for (const place of places) place.follow(segment, next);
      if (next.length === 0) return [];
      places = next;
    }
    // That knows what else there is to it: empty segments, and the library's own names.
    return places.flatMap(({ items }) => [...items].filter((item) => isOf(item, segments)));
  }

  /**
   * What is under the template that says most of a name literally, from left to right; several where templates are
   * equally literal, none where the name is of none of them.
   */
  mostLiteral(name: string): T[] {
    return mostLiteralBelow(this.root, name.split('/'), 0);
  }
}

/** Takes a template out, and the places that lead nowhere without it. */
function removeBelow<T>(place: Place<T>, item: T, [segment, ...others]: readonly string[]): void {
  if (segment === undefined) {
    place.items.delete(item);
    return;
  }
  const next = place.get(segment)!;
  removeBelow(next, item, others);
  if (next.isEmpty) place.set(segment, undefined);
}

/** Each place is visited once at most, so it costs no more than there are templates. */
function mostLiteralBelow<T extends Named>(place: Place<T>, segments: readonly string[], depth: number): T[] {
  if (depth === segments.length) return [...place.items].filter((item) => isOf(item, segments));
  const ways: Place<T>[] = [];
  place.follow(segments[depth]!, ways);
  for (const way of ways) {
    const found = mostLiteralBelow(way, segments, depth + 1);
    if (found.length > 0) return found;
  }
  return [];
}

function isOf({ name }: Named, segments: readonly string[]): boolean {
  return matchTemplate(name.split('/'), segments) !== undefined;
}
