import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Codec } from '../../../lib/protocol/codec.js';
import { CheckedInstances } from '../../../lib/protocol/codec/checked-instances.js';
import { decodeMessage } from '../../../lib/protocol/codec/decode-message.js';
import type { InstanceCheck } from '../../../lib/protocol/codec/instance-check.js';
import type { InstanceReader } from '../../../lib/protocol/codec/message-instances.js';
import { InvalidMessageError } from '../../../lib/protocol/errors.js';
import { IdentityMap } from '../../../lib/protocol/identity-map.js';
import { Serializable } from '../../../lib/protocol/serializable.js';
import { toSourceRef } from '../../../lib/protocol/source.js';
import { TypeRegistry } from '../../../lib/protocol/type-registry.js';
import { isSameGraph } from '../../support/same-graph.js';

class Entity {
  [property: string]: unknown;
  constructor(properties: object = {}) {
    Object.assign(this, properties);
  }
}

@Serializable({ name: 'identity-user', key: 'id' })
class User extends Entity {
  set role(_role: string) {
    throw new Error('a setter of the class ran');
  }
}

@Serializable({ name: 'identity-admin', key: 'id' })
class Admin extends User {}

@Serializable({ name: 'identity-room', key: 'name' })
class Room extends Entity {}

@Serializable({ name: 'identity-note' })
class Note extends Entity {}

@Serializable({ name: 'identity-lazy', key: 'id' })
class Lazy extends Entity {
  get id(): string {
    throw new Error('a getter of the class ran');
  }
}

@Serializable({ name: 'identity-failure', key: 'code' })
class Failure extends Error {
  readonly code = 1;
}

const types = new TypeRegistry();
const codec = new Codec(types);

/** Applies to every instance. */
function rules(problemOf: InstanceCheck['problemOf']): InstanceCheck {
  return { appliesTo: () => true, problemOf };
}

function receive(message: unknown, identityMap?: IdentityMap, check?: InstanceCheck): unknown {
  const { data, type, meta } = codec.encode(message);
  return readTexts(data, type, meta, identityMap, check);
}

function readTexts(
  data: string,
  type?: string,
  meta?: string,
  identityMap?: IdentityMap,
  check?: InstanceCheck,
): unknown {
  const note: unknown = meta === undefined ? undefined : JSON.parse(meta);
  return decodeMessage(types, JSON.parse(data), type, note, check ? checkedBefore(check, identityMap!) : identityMap);
}

/** An identity map that checks messages before it accepts them. */
function checkedBefore(check: InstanceCheck, identityMap: IdentityMap): InstanceReader {
  return {
    begin: () => {
      const checked = new CheckedInstances(check);
      const identities = identityMap.begin();
      return {
        get hasMerged() {
          return identities.hasMerged;
        },
        resolve: (type, fresh, note, path) => identities.resolve(type, checked.resolve(type, fresh, note, path), note),
        complete: (instance, fresh) => identities.complete(instance, fresh),
        accept: () => {
          checked.accept();
          identities.accept();
        },
      };
    },
  };
}

const user = (id: unknown, properties: object = {}) => new User({ id, ...properties });

function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('A keyed instance that arrives again', () => {
  test('is the existing object, as the message itself, with the new values', () => {
    const map = new IdentityMap();
    const live = receive(user(1, { name: 'Ada', tags: ['a'] }), map);
    expect(receive(user(1, { name: 'Bob', tags: [] }), map)).toBe(live);
    expect(live).toStrictEqual(user(1, { name: 'Bob', tags: [] }));
    expect(map.find(User, 1)).toBe(live);
    expect(map.size).toBe(1);
  });

  test('is the same object inside an object, an array, a Map, a Set and another instance', () => {
    const map = new IdentityMap();
    const live = receive(user(1), map);
    const one = user(1, { name: 'Ada' });
    const places = receive(
      {
        object: { one },
        array: [one],
        key: new Map([[one, 1]]),
        value: new Map([[1, one]]),
        set: new Set([one]),
        note: new Note({ one }),
        room: new Room({ name: 'lobby', one }),
      },
      map,
    ) as Record<string, never>;
    const found = [
      places['object']!['one'],
      places['array']![0],
      [...(places['key']! as Map<unknown, unknown>).keys()][0],
      (places['value']! as Map<unknown, unknown>).get(1),
      [...(places['set']! as Set<unknown>)][0],
      places['note']!['one'],
      places['room']!['one'],
    ];
    expect(found.every((instance) => instance === live)).toBe(true);
    expect(live).toStrictEqual(user(1, { name: 'Ada' }));
  });

  test('is the target of its own cycles, and of references before and after it', () => {
    const map = new IdentityMap();
    const live = receive(user(1), map) as User;
    const one = user(1);
    one['self'] = one;
    one['friend'] = user(2, { friends: new Set([one]) });
    const [before, , after] = receive([{ friend: one['friend'] }, one, { one }], map) as Entity[];
    expect(live['self']).toBe(live);
    expect((live['friend'] as User)['friends']).toEqual(new Set([live]));
    expect(before!['friend']).toBe(live['friend']);
    expect(after!['one']).toBe(live);
  });

  test('loses properties that the message lacks and gets new ones', () => {
    const map = new IdentityMap();
    const live = receive(user(1, { name: 'Ada', old: 1 }), map) as User;
    receive(user(1, { name: undefined, added: new Date(0) }), map);
    expect(Object.keys(live).toSorted()).toEqual(['added', 'id', 'name']);
    expect(live).toStrictEqual(user(1, { name: undefined, added: new Date(0) }));
  });

  test('keeps its properties that are not enumerable, even if the message names them', () => {
    const map = new IdentityMap();
    const live = receive(user(1), map) as User;
    const seen = Symbol('seen');
    Object.defineProperty(live, 'cache', { value: 'mine' });
    Object.defineProperty(live, seen, { value: true, enumerable: true });
    expect(receive(user(1, { cache: 'theirs', name: 'Ada' }), map)).toBe(live);
    expect([live['cache'], live['name'], Reflect.get(live, seen)]).toEqual(['mine', 'Ada', true]);
  });

  test('is assigned through its own accessor, never through one of its class', () => {
    const map = new IdentityMap();
    const live = receive(user(1, { name: 'Ada' }), map) as User;
    const assigned: unknown[] = [];
    Object.defineProperty(live, 'name', {
      get: () => assigned.at(-1),
      set(value) {
        assigned.push(value);
      },
      enumerable: true,
      configurable: true,
    });
    receive(user(1, { name: 'Bob' }), map);
    readTexts('{"id":1,"name":"Cy","role":"root"}', 'identity-user', undefined, map);
    expect(assigned).toEqual(['Bob', 'Cy']);
    expect(Object.getOwnPropertyDescriptor(live, 'role')).toMatchObject({ value: 'root', writable: true });
  });

  test('sets its own accessor, or a property that cannot be deleted, to undefined if the message lacks it', () => {
    const map = new IdentityMap();
    const live = receive(user(1, { name: 'Ada', fixed: 1 }), map) as User;
    const assigned: unknown[] = [];
    const accessor = { get: () => assigned.at(-1), set: (value: unknown) => void assigned.push(value) };
    Object.defineProperty(live, 'name', { ...accessor, enumerable: true, configurable: true });
    Object.defineProperty(live, 'fixed', { configurable: false });
    expect(receive(user(1), map)).toBe(live);
    expect(live['fixed']).toBeUndefined();
    expect(receive(user(1, { name: 'Bob', fixed: 2 }), map)).toBe(live);
    expect(assigned).toEqual([undefined, 'Bob']);
    expect(live).toMatchObject({ name: 'Bob', fixed: 2 });
  });

  test('is updated except for a property whose own setter throws, and the error reports that', () => {
    const map = new IdentityMap();
    const [one, two] = receive([user(1, { a: 1, b: 1, c: 1 }), user(2, { a: 1 })], map) as [User, User];
    const failure = new RangeError('not so');
    const fail = () => {
      throw failure;
    };
    Object.defineProperty(one, 'b', { get: () => 'as it was', set: fail, enumerable: true });
    const thrown = thrownBy(() => receive([user(1, { a: 2, b: 2, c: 2 }), user(2, { a: 2 }), user(3)], map));
    expect(thrown).toBeInstanceOf(InvalidMessageError);
    expect((thrown as Error).cause).toBe(failure);
    expect([one['a'], one['b'], one['c'], two['a']]).toEqual([2, 'as it was', 2, 2]);
  });

  test('is one object even if a setter reads another message meanwhile', () => {
    const map = new IdentityMap();
    const live = receive(user(1, { name: 'Ada' }), map) as User;
    let inner: unknown;
    const receiveAnother = () => {
      inner = receive(user(2), map);
    };
    Object.defineProperty(live, 'name', { set: receiveAnother, enumerable: true });
    const [, second] = receive([user(1, { name: 'Bob' }), user(2)], map) as User[];
    expect(inner).toBe(second);
    expect(map.find(User, 2)).toBe(second);
  });

  test.each<[what: string, seal: (live: object) => void]>([
    ['frozen', (live) => Object.freeze(live)],
    ['sealed', (live) => Object.seal(live)],
    ['not extensible', (live) => Object.preventExtensions(live)],
    ['read-only in one property', (live) => Object.defineProperty(live, 'name', { writable: false })],
    [
      'without a setter for one property',
      (live) => Object.defineProperty(live, 'name', { get: () => 'Ada', configurable: true }),
    ],
  ])('is replaced and left unchanged if it is %s', (_what, seal) => {
    const map = new IdentityMap();
    const live = receive(user(1, { age: 1, name: 'Ada' }), map) as User;
    seal(live);
    const one = user(1, { age: 2, name: 'Bob', more: true });
    one['self'] = one;
    const [next, same] = receive([one, one], map) as [User, User];
    expect(next).not.toBe(live);
    expect(live).toStrictEqual(user(1, { age: 1, name: 'Ada' }));
    expect(next).toMatchObject({ age: 2, name: 'Bob', more: true });
    expect([same, next['self'], map.find(User, 1), receive(user(1), map)].every((object) => object === next)).toBe(
      true,
    );
  });
});

const known = () => [user(1, { name: 'Ada', gone: 1 }), new Room({ name: 'lobby', open: true })];
const arriving = () => {
  const one = user(1, { name: 'Bob', at: new Date(0), tags: new Set(['a', 2n]) });
  return { one, room: new Room({ name: 'lobby', owner: one }), new: user(2), last: new Note({ one, done: /x/ }) };
};

describe('A message that is refused', () => {
  test('changes nothing if the last instance in it fails its check', () => {
    const map = new IdentityMap();
    const live = receive(known(), map);
    const checked: unknown[] = [];
    const check = rules((instance, type) => {
      checked.push({ ...instance });
      return type === Note ? 'no' : undefined;
    });
    expect(() => receive(arriving(), map, check)).toThrow('message.last: no');
    expect(live).toStrictEqual(known());
    expect(map.find(User, 2)).toBeUndefined();
    expect(map.size).toBe(2);
    // The check sees the received data, not the existing instance.
    expect(checked[0]).toMatchObject({ id: 1, name: 'Bob' });
  });

  test('changes nothing wherever a note in it is wrong', () => {
    const { data, meta } = codec.encode(arriving());
    const scraps: unknown[] = [7, 'Date', 'bigint', '@identity-user', '@nobody', ['', {}, 1.5], { more: 'URL' }, null];
    let refused = 0;
    for (let place = 0; ; place++) {
      const damage = (scrap: unknown) => replaceNth(JSON.parse(meta!), place, scrap);
      if (damage(0) === undefined) break;
      for (const scrap of scraps) {
        const map = new IdentityMap();
        const live = receive(known(), map);
        const thrown = thrownBy(() => readTexts(data, undefined, JSON.stringify(damage(scrap)), map));
        if (thrown === undefined) continue;
        refused++;
        expect(thrown).toBeInstanceOf(InvalidMessageError);
        expect(live).toStrictEqual(known());
        expect([map.size, map.find(User, 2)]).toEqual([2, undefined]);
      }
    }
    expect(refused).toBeGreaterThan(80);
  });

  test('adds no key under which a later one would be found', () => {
    const map = new IdentityMap();
    expect(() =>
      receive(
        [user(1), new Note()],
        map,
        rules((_instance, type) => (type === Note ? 'no' : undefined)),
      ),
    ).toThrow('message[1]: no');
    const live = receive(user(1), map);
    expect(receive(user(1), map)).toBe(live);
  });
});

/** The tree with its nth part replaced, counted depth first; `undefined` if it has fewer parts. */
function replaceNth(tree: unknown, nth: number, scrap: unknown): unknown {
  let count = 0;
  const visit = (holder: Record<string, unknown>): boolean =>
    Object.keys(holder).some((key) => {
      if (count++ === nth) {
        holder[key] = scrap;
        return true;
      }
      const part = holder[key];
      return typeof part === 'object' && part !== null && visit(part as Record<string, unknown>);
    });
  return visit(tree as Record<string, unknown>) ? tree : undefined;
}

describe('One key twice in a message', () => {
  test('is one object with the values of the later one', () => {
    const map = new IdentityMap();
    const other = user(1, { name: 'Bob', b: 1 });
    const found = receive([user(1, { name: 'Ada', a: 1 }), other, { other }], map) as [User, User, { other: User }];
    expect(found[1]).toBe(found[0]);
    expect(found[2].other).toBe(found[0]);
    expect(found[0]).toEqual(user(1, { name: 'Bob', b: 1 }));
    expect(map.find(User, 1)).toBe(found[0]);
  });

  test('is the live object if there is one', () => {
    const map = new IdentityMap();
    const live = receive(user(1), map);
    const found = receive([user(1, { name: 'Ada' }), user(1, { name: 'Bob' })], map) as [User, User];
    expect(found.every((instance) => instance === live)).toBe(true);
    expect(live).toStrictEqual(user(1, { name: 'Bob' }));
  });

  test.each([
    ['new', 0],
    ['known', 1],
  ])('keeps the content of the outer one if one contains the other, as a %s one', (_what, times) => {
    const map = new IdentityMap();
    const held = Array.from({ length: times }, () => receive(user(1), map));
    const found = receive(user(1, { name: 'all', friend: user(2, { of: user(1, { name: 'part' }) }) }), map) as User;
    expect(found['name']).toBe('all');
    expect((found['friend'] as User)['of']).toBe(found);
    expect(held.every((instance) => instance === found)).toBe(true);
  });

  test('is once in a Set and once among the keys of a Map', () => {
    const map = new IdentityMap();
    const [set, byUser] = receive(
      [
        new Set([user(1), user(1)]),
        new Map([
          [user(1), 'a'],
          [user(1), 'b'],
        ]),
      ],
      map,
    ) as [Set<unknown>, Map<unknown, unknown>];
    expect([...set]).toEqual([map.find(User, 1)]);
    expect([...byUser]).toEqual([[map.find(User, 1), 'b']]);
    expect(() => readTexts('[1,1]', undefined, '"Set"', map)).toThrow('it has an entry twice');
    expect(() => readTexts('[[1,1],[1,1]]', undefined, '"Map"', map)).toThrow('it has an entry twice');
  });

  test('is checked each time', () => {
    const names: unknown[] = [];
    const check = rules((instance) => {
      names.push((instance as User)['name']);
      return undefined;
    });
    receive([user(1, { name: 'Ada' }), user(1, { name: 'Bob' })], new IdentityMap(), check);
    expect(names).toEqual(['Ada', 'Bob']);
  });
});

describe('The identity of an instance', () => {
  test('consists of its class, under its own name, and its key', () => {
    const map = new IdentityMap();
    const found = receive([user('x'), new Admin({ id: 'x' }), new Room({ name: 'x' })], map) as Entity[];
    expect(new Set(found).size).toBe(3);
    expect([map.find(User, 'x'), map.find(Admin, 'x'), map.find(Room, 'x')]).toEqual(found);
  });

  test('belongs to one map: another map has its own objects', () => {
    const [mine, yours] = [new IdentityMap(), new IdentityMap()];
    expect(receive(user(1), mine)).not.toBe(receive(user(1), yours));
  });

  const KEYS = [1, 1n, '1', '01', 0, -0, '-0', 10n ** 30n, '1000000000000000000000000000000', 1.5, 'a/b', 'a'];

  test.each(KEYS)('has a key that names the same source, like %p', (key) => {
    for (const other of KEYS) {
      const map = new IdentityMap();
      const live = receive(user(key), map) as User;
      const found = receive(user(other), map) as User;
      expect([other, found === live]).toEqual([other, toSourceRef(user(key)).key === toSourceRef(user(other)).key]);
      expect(Object.is(found['id'], other)).toBe(true);
      expect(map.find(User, other)).toBe(found);
    }
  });

  test.each([[undefined], [null], [''], [Number.NaN], [Infinity], [true], [new Date(0)], [{ a: 1 }], [[1]], [user(5)]])(
    'never has the key %p',
    (key) => {
      const map = new IdentityMap();
      expect(receive(user(key), map)).not.toBe(receive(user(key), map));
      expect(map.find(User, key as number)).toBeUndefined();
    },
  );

  test('never has a missing key, and calls no getter of the class for it', () => {
    const map = new IdentityMap();
    const lazy = () => readTexts('{"name":"x"}', 'identity-lazy', undefined, map);
    expect(lazy()).not.toBe(lazy());
    expect(lazy()).toBeInstanceOf(Lazy);
    expect(map.size).toBe(0);
  });

  test('has the key under the name of the property in the class', () => {
    const map = new IdentityMap();
    const live = receive(user(7), map);
    const renamed = (meta: string) => readTexts('{"ID":"7","id":"x"}', 'identity-user', meta, map);
    expect(renamed('["",{"ID":"bigint"},0,{"ID":"id","id":"other"}]')).toBe(live);
    expect(live).toStrictEqual(user(7n, { other: 'x' }));
    expect(renamed('["",{},0,{"id":"other"}]')).not.toBe(map.find(User, 'x'));
    expect(map.size).toBe(1);
  });

  test('does not exist for a class without a key, or for errors', () => {
    const map = new IdentityMap();
    const notes = () => receive([new Note({ id: 1 }), new Failure()], map) as object[];
    const [first, second] = [notes(), notes()];
    expect([first[0] === second[0], first[1] === second[1], map.size]).toEqual([false, false, 0]);
  });

  test('does not exist without a map', () => {
    const [first, second] = [receive(user(1, { a: 1 })), receive(user(1, { b: 1 }))];
    expect(first).toEqual(user(1, { a: 1 }));
    expect(second).toEqual(user(1, { b: 1 }));
  });
});

async function collect(): Promise<void> {
  // A WeakRef keeps its object alive for the turn that reads it.
  await new Promise((resolve) => setImmediate(resolve));
  globalThis.gc!();
}

async function collectUntil(isSo: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 50 && !isSo(); attempt++) await collect();
}

describe('An identity map', () => {
  test('keeps no instance, and no key of a collected one', async () => {
    const map = new IdentityMap();
    const kept = receive(user('kept'), map);
    // In a separate function, so that no local variable keeps the last one alive.
    const receiveMany = () => {
      for (let id = 0; id < 1_000; id++) receive({ users: [user(id), user(id)] }, map);
    };
    receiveMany();
    expect(map.size).toBe(1_001);
    await collectUntil(() => map.size === 1);
    expect(map.size).toBe(1);
    expect(map.find(User, 'kept')).toBe(kept);
    expect(map.find(User, 999)).toBeUndefined();
  });

  test('keeps the instance that replaced a collected one', async () => {
    const map = new IdentityMap();
    const receiveFrozen = () => new WeakRef(Object.freeze(receive(user(1), map) as User));
    const first = receiveFrozen();
    const second = receive(user(1), map);
    expect(second).not.toBe(first.deref());
    await collectUntil(() => first.deref() === undefined);
    // The engine reports it a turn later.
    for (let turns = 0; turns < 3; turns++) await collect();
    expect(first.deref()).toBeUndefined();
    expect(map.find(User, 1)).toBe(second);
    expect(map.size).toBe(1);
  });

  test('creates a new instance after the last one is gone', async () => {
    const map = new IdentityMap();
    const gone = ((): WeakRef<object> => new WeakRef(receive(user(1, { a: 1 }), map) as User))();
    await collectUntil(() => gone.deref() === undefined);
    expect(receive(user(1, { b: 1 }), map)).toEqual(user(1, { b: 1 }));
    expect(gone.deref()).toBeUndefined();
  });
});

const KINDS = ['user', 'admin', 'room', 'note', 'object', 'array', 'map', 'set'] as const;

interface Vertex {
  readonly kind: (typeof KINDS)[number];
  readonly key: number;
  readonly form: 'number' | 'string' | 'bigint';
  readonly parts: readonly { readonly name: string; readonly value: Part }[];
}
type Part = { readonly leaf: unknown } | { readonly vertex: number };

const part = fc.oneof(
  fc.constantFrom<unknown>(1, 'x', null, undefined, 5n, new Date(0)).map((value): Part => ({ leaf: value })),
  fc.nat({ max: 6 }).map((vertex): Part => ({ vertex })),
);
const vertex = fc.record<Vertex>({
  kind: fc.constantFrom(...KINDS),
  key: fc.nat({ max: 3 }),
  form: fc.constantFrom('number', 'string', 'bigint'),
  parts: fc.array(fc.record({ name: fc.constantFrom('a', 'b', 'c', '0'), value: part }), { maxLength: 4 }),
});
const graph = fc.array(vertex, { minLength: 1, maxLength: 7 }).map(build);

function build(vertices: readonly Vertex[]): unknown {
  const identities = new Set<string>();
  const objects = vertices.map(({ kind, key, form }): object => {
    const keyInForm = form === 'number' ? key : form === 'bigint' ? BigInt(key) : String(key);
    const isTaken = identities.has(`${kind} ${key}`);
    identities.add(`${kind} ${key}`);
    if (kind === 'array') return [];
    if (kind === 'map') return new Map<unknown, unknown>();
    if (kind === 'set') return new Set<unknown>();
    if (kind === 'object' || isTaken) return {};
    if (kind === 'note') return new Note({ id: key });
    if (kind === 'room') return new Room({ name: keyInForm });
    return kind === 'user' ? user(keyInForm) : new Admin({ id: keyInForm });
  });
  for (const [index, { parts }] of vertices.entries()) {
    const object = objects[index]!;
    for (const { name, value: from } of parts) {
      const value: unknown = 'leaf' in from ? from.leaf : objects[from.vertex % objects.length];
      if (object instanceof Map) object.set(typeof value === 'object' ? value : name, value);
      else if (object instanceof Set) object.add(value);
      else if (Array.isArray(object)) (object as unknown[]).push(value);
      else (object as Record<string, unknown>)[name] = value;
    }
  }
  return objects[0];
}

test('Any sequence of messages is read as without an identity map, but from the same instances', () => {
  const identities = [User, Admin, Room].flatMap((type) => [0, 1, 2, 3].map((key) => [type, key] as const));
  let updates = 0;
  fc.assert(
    fc.property(fc.array(graph, { minLength: 1, maxLength: 6 }), (messages) => {
      const map = new IdentityMap();
      const held: unknown[] = [];
      for (const message of messages) {
        const before = identities.map(([type, key]) => map.find(type, key));
        const arrived = receive(message, map);
        held.push(arrived);
        expect(isSameGraph(arrived, receive(message))).toBe(true);
        for (const [index, [type, key]] of identities.entries()) {
          if (before[index] === undefined) continue;
          expect(map.find(type, key) === before[index]).toBe(true);
          updates++;
        }
      }
    }),
    { numRuns: 500, seed: 20_261_122 },
  );
  expect(updates).toBeGreaterThan(1_000);
});
