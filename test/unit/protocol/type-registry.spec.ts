import { describe, expect, test } from '@jest/globals';
import { Codec } from '../../../lib/protocol/codec.js';
import { ConfigurationError, InvalidMessageError } from '../../../lib/protocol/errors.js';
import { Message } from '../../../lib/protocol/message.js';
import { Serializable, classInfo, defineMessage, placeOf } from '../../../lib/protocol/serializable.js';
import { TypeRegistry } from '../../../lib/protocol/type-registry.js';

function declareClass(name: string): new () => object {
  @Serializable({ name })
  class Declared {}
  return Declared;
}

describe('TypeRegistry', () => {
  test('finds a class that is known only by its decorator', () => {
    const type = declareClass('registry-alone');
    expect(new TypeRegistry().resolve('registry-alone')).toBe(type);
  });

  test('lets two applications in one process have different classes with the same name', () => {
    const [mine, yours] = [declareClass('registry-both'), declareClass('registry-both')];
    const [here, there] = [new TypeRegistry(), new TypeRegistry()];
    here.register(mine);
    there.register(yours);
    expect([here.resolve('registry-both'), there.resolve('registry-both')]).toEqual([mine, yours]);
  });

  test('learns from sent messages which of two classes an application means', () => {
    const [mine] = [declareClass('registry-sent'), declareClass('registry-sent')] as const;
    const codec = new Codec(new TypeRegistry());
    const { data, meta } = codec.encode([new mine()]);
    expect(codec.decode(JSON.parse(data), undefined, JSON.parse(meta!))).toEqual([expect.any(mine)]);
  });

  test('reports that a name is ambiguous only when it is looked up', () => {
    declareClass('registry-ambiguous');
    declareClass('registry-ambiguous');
    const types = new TypeRegistry();
    expect(types.resolve('registry-unknown')).toBeUndefined();
    expect(() => types.resolve('registry-ambiguous')).toThrow(ConfigurationError);
    const decode = () => new Codec(types).decode({}, 'registry-ambiguous', undefined);
    expect(decode).toThrow(InvalidMessageError);
    expect(decode).toThrow(/2 message classes are called "registry-ambiguous"/);
  });

  test('refuses two classes with one name in one application, registered or sent', () => {
    const [one, other] = [declareClass('registry-twice'), declareClass('registry-twice')] as const;
    const types = new TypeRegistry();
    types.register(one);
    types.register(one);
    expect(() => types.register(other)).toThrow('Two message classes are called "registry-twice"');
    expect(() => new Codec(types).encode([new other()])).toThrow(ConfigurationError);
  });

  test('knows a Message that it has sent, but no other class without a decorator', () => {
    class Ping extends Message {}
    class Plain {}
    const codec = new Codec(new TypeRegistry());
    const { data, type } = codec.encode(new Ping());
    expect(type).toBe('Ping');
    expect(codec.decode(JSON.parse(data), type, undefined)).toBeInstanceOf(Ping);
    expect(() => codec.encode(new Plain())).toThrow('Plain is not @Serializable');
  });

  test('carries instances of a registered class without a decorator, even inside other values', () => {
    class Plain {}
    const types = new TypeRegistry();
    types.register(Plain);
    const codec = new Codec(types);
    const { data, meta } = codec.encode({ a: new Plain() });
    expect(codec.decode(JSON.parse(data), undefined, JSON.parse(meta!))).toEqual({ a: expect.any(Plain) });
  });

  test('holds no class that is no longer used', async () => {
    const gc = (globalThis as { gc?: () => void }).gc;
    if (gc === undefined) return;
    declareClass('registry-gone');
    await new Promise((resolve) => setImmediate(resolve));
    gc();
    expect(new TypeRegistry().resolve('registry-gone')).toBeUndefined();
  });
});

describe('defineMessage', () => {
  class Plain {
    readonly id = 7;
  }

  test('declares a class without a decorator, with its own name, at the place of the call', () => {
    expect(defineMessage('plain-message', Plain, { key: 'id' })).toBe(Plain);
    expect(classInfo(Plain)).toMatchObject({ kind: 'data', name: 'plain-message', isNamed: true, key: 'id' });
    expect(new TypeRegistry().resolve('plain-message')).toBe(Plain);
    expect(placeOf(Plain)).toContain('type-registry.spec');
  });

  test.each([
    [() => defineMessage('', Plain), 'defineMessage: the name "" must have 1 to 100 characters'],
    [() => defineMessage('a/b', Plain), 'defineMessage: the name "a/b" must have 1 to 100 characters and no "/"'],
    [() => defineMessage('a', {} as never), 'defineMessage: the second argument must be a class'],
    [() => defineMessage('a', Plain, { name: 'b' } as never), 'defineMessage("a"): unknown option "name"'],
    [() => defineMessage('a', Plain, { key: '' }), '"key" must be the name of a property'],
  ])('refuses %s', (call, text) => {
    expect(call).toThrow(ConfigurationError);
    expect(call).toThrow(text);
  });
});
