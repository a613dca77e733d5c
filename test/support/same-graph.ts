/**
 * Whether two values are observably the same: types, own properties, order of Maps and Sets, holes, and
 * object identity. Unlike Jest's `toEqual`, it accepts one object in place of two equal ones only if both
 * sides have it.
 */
export function isSameGraph(a: unknown, b: unknown): boolean {
  return new Comparison().isSame(a, b);
}

type Properties = Record<string, unknown>;

class Comparison {
  private readonly toRight = new Map<object, object>();
  private readonly toLeft = new Map<object, object>();

  isSame(a: unknown, b: unknown): boolean {
    if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return Object.is(a, b);
    if (this.toRight.has(a) || this.toLeft.has(b)) return this.toRight.get(a) === b && this.toLeft.get(b) === a;
    this.toRight.set(a, b);
    this.toLeft.set(b, a);
    if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
    return this.haveSameContents(a, b) && this.haveSameProperties(a, b);
  }

  private haveSameContents(a: object, b: object): boolean {
    if (a instanceof Date) return Object.is(a.getTime(), (b as Date).getTime());
    if (a instanceof RegExp || a instanceof URL) return a.toString() === (b as RegExp | URL).toString();
    if (a instanceof Map) return this.isSameList([...a].flat(), [...(b as typeof a)].flat());
    if (a instanceof Set) return this.isSameList([...a], [...(b as typeof a)]);
    if (a instanceof ArrayBuffer) return this.isSameList([...new Uint8Array(a)], [...new Uint8Array(b as ArrayBuffer)]);
    if (a instanceof DataView) return this.isSameList(bytesOf(a), bytesOf(b as DataView));
    if (a instanceof Error) {
      const other = b as Error;
      return (
        a.name === other.name &&
        a.message === other.message &&
        Object.hasOwn(a, 'cause') === Object.hasOwn(other, 'cause') &&
        this.isSame(a.cause, other.cause) &&
        this.isSame((a as AggregateError).errors, (other as AggregateError).errors)
      );
    }
    return !Array.isArray(a) || a.length === (b as unknown[]).length;
  }

  // The keys without their order: JSON leaves out what is undefined, and it comes back as the last.
  private haveSameProperties(a: object, b: object): boolean {
    const keys = Object.keys(a);
    return (
      keys.length === Object.keys(b).length &&
      keys.every((key) => Object.hasOwn(b, key) && this.isSame((a as Properties)[key], (b as Properties)[key]))
    );
  }

  private isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
    return a.length === b.length && a.every((value, index) => this.isSame(value, b[index]));
  }
}

function bytesOf(view: DataView): number[] {
  return [...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)];
}
