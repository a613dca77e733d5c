import { describe, expect, test } from '@jest/globals';
import { ConfigurationError, InvalidChannelError } from '../../../lib/protocol/errors.js';
import { MessageSource, Serializable } from '../../../lib/protocol/serializable.js';
import { messagesFrom, sourceRef } from '../../../lib/protocol/source.js';

@MessageSource({ key: 'id' })
class Room {
  constructor(public id: unknown) {}
}

@Serializable({ name: 'said' })
class Said {}
class Heard {}

describe('the channel of a source and a class of messages', () => {
  test('is made once for each pair, whether an instance or a reference names the source', () => {
    const channel = messagesFrom(new Room(7), Said);
    expect(channel.name).toBe('messaging:from/Room/7/said');
    expect(messagesFrom(new Room('7'), Said)).toBe(channel);
    expect(messagesFrom(sourceRef('Room', 7), Said)).toBe(channel);
    expect(messagesFrom(Room, Said)).toBe(messagesFrom(Room, Said));
    expect(messagesFrom(Room, Said).definition).toBe(channel.definition);
  });

  test('differs for another key, another class of messages, and a source class with another name', () => {
    const names = [
      messagesFrom(new Room('a'), Said),
      messagesFrom(new Room('a/b'), Said),
      messagesFrom(new Room('a'), Heard),
      messagesFrom(sourceRef('Hall', 'a'), Said),
    ].map(({ name }) => name);
    expect(names).toEqual([
      'messaging:from/Room/a/said',
      'messaging:from/Room/a%2Fb/said',
      'messaging:from/Room/a/Heard',
      'messaging:from/Hall/a/said',
    ]);
  });

  test('follows the key of the source when the key changes', () => {
    const room = new Room('new');
    expect(messagesFrom(room, Said).name).toBe('messaging:from/Room/new/said');
    room.id = 42;
    expect(messagesFrom(room, Said).name).toBe('messaging:from/Room/42/said');
    room.id = undefined;
    expect(() => messagesFrom(room, Said)).toThrow(ConfigurationError);
    room.id = '\ud800';
    expect(() => messagesFrom(room, Said)).toThrow(InvalidChannelError);
    expect(() => messagesFrom(room, Said)).toThrow(InvalidChannelError);
  });

  test('needs a unique, readable key', () => {
    for (const key of [Number.NaN, Infinity, '', null, {}]) {
      expect(() => messagesFrom(new Room(key), Said)).toThrow(/^A Room needs a key to be a source/);
    }
    expect(() => sourceRef('Room', Number.NaN)).toThrow(ConfigurationError);
    const cause = new Error('not loaded');
    const room = Object.defineProperty(new Room(1), 'id', {
      get: () => {
        throw cause;
      },
    });
    expect(() => messagesFrom(room, Said)).toThrow(
      expect.objectContaining({ code: 'CONFIGURATION', message: 'The key of a Room cannot be read', cause }),
    );
  });

  test('needs a class or its name', () => {
    for (const type of [5, null, undefined, {}]) {
      expect(() => sourceRef(type as never, 1)).toThrow(/^A source has a class or its name, not /);
    }
  });

  test('follows a name that a class gets later', () => {
    class Named {}
    expect(messagesFrom(Room, Named).name).toBe('messaging:from/Room/:key/Named');
    Serializable({ name: 'renamed' })(Named);
    expect(messagesFrom(Room, Named).name).toBe('messaging:from/Room/:key/renamed');
    expect(messagesFrom(new Room(1), Named).name).toBe('messaging:from/Room/1/renamed');
  });

  test('is kept for a limited number of sources, and source classes', () => {
    const first = messagesFrom(new Room('first'), Said);
    for (let n = 0; n < 999; n++) messagesFrom(new Room(`other ${n}`), Said);
    expect(messagesFrom(new Room('first'), Said)).toBe(first);
    messagesFrom(new Room('one more'), Said);
    const again = messagesFrom(new Room('first'), Said);
    expect(again).not.toBe(first);
    expect(again).toEqual(first);
    const template = messagesFrom(Room, Said);
    for (let n = 0; n < 100; n++) messagesFrom(sourceRef(`Type${n}`, 1), Said);
    expect(messagesFrom(Room, Said)).not.toBe(template);
    expect(messagesFrom(Room, Said)).toEqual(template);
  });

  test('keeps neither the source nor a class of messages alive', async () => {
    const made = (() => {
      class Short {}
      const room = new Room('gone');
      messagesFrom(room, Short);
      return [new WeakRef(Short), new WeakRef(room)];
    })();
    for (let turn = 0; turn < 10 && made.some((ref) => ref.deref() !== undefined); turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      globalThis.gc!();
    }
    expect(made.map((ref) => ref.deref())).toEqual([undefined, undefined]);
  });
});

describe('a decorator of a class', () => {
  test.each<[string, (target: Function) => void, string]>([
    [
      'misspelt',
      Serializable({ kye: 'id' } as never),
      '@Serializable on Thing: unknown option "kye"; the options are: ',
    ],
    ['a number', Serializable(5 as never), '@Serializable on Thing: the options must be an object, not 5'],
    ['null', Serializable(null as never), '@Serializable on Thing: the options must be an object, not null'],
    [
      'misspelt beside a key',
      MessageSource({ key: 'id', client: true } as never),
      '@MessageSource on Thing: unknown option "client"',
    ],
  ])('refuses options: %s', (_, decorate, text) => {
    class Thing {}
    expect(() => decorate(Thing)).toThrow(ConfigurationError);
    expect(() => decorate(Thing)).toThrow(text);
  });
});
