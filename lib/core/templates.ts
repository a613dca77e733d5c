import { isOfTemplate } from '../protocol/channel-name.js';

/** A value with the name of its template. */
interface Named {
  readonly name: string;
}

/** A node of the tree: where some segments lead, and the segments that follow. */
class Place<T> {
  /** The values that end here. Their templates differ only in the names of their parameters. */
  readonly items = new Set<T>();
  private readonly literals = new Map<string, Place<T>>();
  private parameter: Place<T> | undefined = undefined;

  get isEmpty(): boolean {
    return this.items.size === 0 && this.literals.size === 0 && this.parameter === undefined;
  }

  /** The place after a segment of a template. */
  get(segment: string): Place<T> | undefined {
    return segment.startsWith(':') ? this.parameter : this.literals.get(segment);
  }

  /** Adds the places that match the next segment of a name, the literal one first. */
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
 * Templates, for example those with listeners, as a tree of their segments: a name is compared only with templates that begin the same
 * way, however many there are.
 */
export class Templates<T extends Named> {
  private readonly root = new Place<T>();
  private readonly byName = new Map<string, T>();
  /** Changes whenever a template is added or removed. */
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

  /** All values whose templates match a name. */
  match(name: string): T[] {
    const segments = name.split('/');
    let places = [this.root];
    for (const segment of segments) {
      const next: Place<T>[] = [];
      for (const place of places) place.follow(segment, next);
      if (next.length === 0) return [];
      places = next;
    }
    // `isOf` also rejects empty segments and the library's own names.
    return places.flatMap(({ items }) => [...items].filter((item) => isOf(item, segments)));
  }

  /**
   * The values of the most literal template that matches a name, compared from left to right; several if templates are equally literal,
   * none if no template matches.
   */
  mostLiteral(name: string): T[] {
    return mostLiteralBelow(this.root, name.split('/'), 0);
  }
}

/** Removes a template, and places that lead nowhere without it. */
function removeBelow<T>(place: Place<T>, item: T, [segment, ...others]: readonly string[]): void {
  if (segment === undefined) {
    place.items.delete(item);
    return;
  }
  const next = place.get(segment)!;
  removeBelow(next, item, others);
  if (next.isEmpty) place.set(segment, undefined);
}

/** Visits each place at most once, so the cost is bounded by the number of templates. */
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
  return isOfTemplate(name.split('/'), segments);
}
