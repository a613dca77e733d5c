import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Codec } from '../../lib/protocol/codec.js';
import { Serializable } from '../../lib/protocol/serializable.js';
import { TypeRegistry } from '../../lib/protocol/type-registry.js';
import { isSameGraph } from '../support/same-graph.js';

@Serializable({ name: 'codec-property-node' })
class GraphNode {
  [property: string]: unknown;
}

const KINDS = ['object', 'array', 'map', 'set', 'instance', 'null-prototype', 'error'] as const;

/** An object and its contents: leaves, or other objects of the graph by index, itself included. */
interface Vertex {
  readonly kind: (typeof KINDS)[number];
  readonly parts: readonly { key: string; mapKey: Part; value: Part }[];
}
type Part = { readonly leaf: unknown } | { readonly vertex: number };

const text = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 4 })
  .map((units) => String.fromCharCode(...units));
const leaf = fc.oneof(
  text,
  fc.double(),
  fc.integer(),
  fc.bigInt(),
  fc.boolean(),
  fc.constantFrom(null, undefined, -0, Number.NaN),
  fc.date({ noInvalidDate: false }),
  fc.constantFrom(/a+/g, new URL('https://example.org/')),
  fc.uint8Array({ maxLength: 5 }),
  fc.float64Array({ maxLength: 3 }),
  fc.int16Array({ maxLength: 3 }),
  fc.bigInt64Array({ maxLength: 2 }),
  fc.json({ maxDepth: 3 }).map((json) => JSON.parse(json.replaceAll('__proto__', 'proto')) as unknown),
);
const key = fc
  .oneof(fc.constantFrom('a', 'b', '0', '10', 'a.b', '@x', ''), text)
  .filter((name) => name !== '__proto__');
const part = fc.oneof(
  leaf.map((value): Part => ({ leaf: value })),
  fc.nat({ max: 6 }).map((vertex): Part => ({ vertex })),
);
const vertex = fc.record<Vertex>({
  kind: fc.constantFrom(...KINDS),
  parts: fc.array(fc.record({ key, mapKey: part, value: part }), { maxLength: 5 }),
});
const graph = fc.array(vertex, { minLength: 1, maxLength: 7 }).map(build);

function build(vertices: readonly Vertex[]): unknown {
  const objects = vertices.map(({ kind }) => CREATE[kind]());
  const get = (from: Part): unknown => ('leaf' in from ? from.leaf : objects[from.vertex % objects.length]);
  for (const [index, { parts }] of vertices.entries()) {
    const object = objects[index]!;
    for (const { key: name, mapKey, value } of parts) {
      if (object instanceof Map) object.set(get(mapKey), get(value));
      else if (object instanceof Set) object.add(get(value));
      else if (Array.isArray(object)) object[object.length + (name === '10' ? 2 : 0)] = get(value);
      else (object as Record<string, unknown>)[safe(object, name)] = get(value);
    }
  }
  return objects[0];
}

const CREATE: Record<Vertex['kind'], () => object> = {
  object: () => ({}),
  array: () => [],
  map: () => new Map(),
  set: () => new Set(),
  instance: () => new GraphNode(),
  'null-prototype': () => Object.create(null) as object,
  error: () => new RangeError('out of range'),
};

// Values of an error under these names are not properties of the application.
function safe(object: object, name: string): string {
  return object instanceof Error && ['name', 'message', 'cause', 'errors', 'stack'].includes(name) ? `${name}_` : name;
}

describe('Codec', () => {
  const codec = new Codec(new TypeRegistry());

  test('returns every value unchanged, with its shared parts and cycles', () => {
    fc.assert(
      fc.property(fc.oneof(graph, leaf), (value) => {
        const { data, type, meta } = codec.encode(value);
        const copy = codec.decode(JSON.parse(data), type, meta === undefined ? undefined : JSON.parse(meta));
        expect(isSameGraph(copy, value)).toBe(true);
      }),
      { numRuns: 3_000, seed: 20_261_122 },
    );
  });

  test('writes plain JSON exactly as JSON.stringify does, and adds nothing', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const json = JSON.stringify(value);
        if (json.includes('__proto__') || json.includes('-0') || Object.is(value, -0)) return;
        expect(codec.encode(JSON.parse(json))).toEqual({ data: json, type: undefined });
      }),
      { numRuns: 1_000, seed: 20_261_122 },
    );
  });

  test('encodes a decoded value to the same texts again', () => {
    fc.assert(
      fc.property(graph, (value) => {
        const first = codec.encode(value);
        const copy = codec.decode(JSON.parse(first.data), first.type, first.meta && JSON.parse(first.meta));
        const second = codec.encode(copy);
        const third = codec.decode(JSON.parse(second.data), second.type, second.meta && JSON.parse(second.meta));
        expect(isSameGraph(third, value)).toBe(true);
      }),
      { numRuns: 500, seed: 20_261_122 },
    );
  });
});
