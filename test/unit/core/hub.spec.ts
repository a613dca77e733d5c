import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import type { Delivery } from '../../../lib/core/delivery.js';
import type { MessageContext } from '../../../lib/core/message-context.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import {
  ConfigurationError,
  InvalidChannelError,
  LimitExceededError,
  MessagingError,
  RedisNotEnabledError,
} from '../../../lib/protocol/errors.js';
import { messagesFrom, sourceRef } from '../../../lib/protocol/source.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

class UserUpdate {
  constructor(readonly id: number) {}
}

const Updates = defineChannel('user_updates', UserUpdate);
const Rooms = defineChannel<string, 'rooms/:roomId'>('rooms/:roomId');

function setup() {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter });
  const session = hub.sessions.open();
  const seen: unknown[] = [];
  return { reporter, hub, session, seen };
}

function fail(): never {
  throw new Error('failed');
}

/** Calls a function at each of the last few hundred stack depths, down to the end of the stack. */
function atTheEnd(call: () => void): void {
  let depth = 0;
  const measure = (): void => {
    depth++;
    measure();
  };
  expect(measure).toThrow(RangeError);
  const descend = (left: number): void => {
    if (left < 500) call();
    descend(left - 1);
  };
  expect(() => descend(depth)).toThrow(RangeError);
}

describe('a post', () => {
  test('reaches every local listener, in the order of registration, before the call returns', () => {
    const { hub, session, seen } = setup();
    for (const name of ['a', 'b', 'c']) hub.listen(Updates, () => seen.push(name), session);

    void hub.post(Updates, new UserUpdate(1));

    expect(seen).toEqual(['a', 'b', 'c']);
  });

  test('gives all listeners the posted instance itself', () => {
    const { hub, session, seen } = setup();
    hub.listen(Updates, (update: UserUpdate) => seen.push(update), session);
    hub.listen('user_updates', (update) => seen.push(update), session);
    const update = new UserUpdate(1);

    void hub.post('user_updates', update);

    expect(seen[0]).toBe(update);
    expect(seen[1]).toBe(update);
  });

  test('resolves with true without other servers, whether or not somebody listens', async () => {
    const { hub, session } = setup();
    await expect(hub.post('nobody', 1)).resolves.toBe(true);
    hub.listen('somebody', () => {}, session);
    await expect(hub.post('somebody', 1, { scope: 'auto' })).resolves.toBe(true);
  });

  test('made by a listener of the same channel waits until all listeners have got the first', () => {
    const { hub, session, seen } = setup();
    hub.listen(
      'steps',
      (step: number) => {
        if (step === 1) void hub.post('steps', 2);
        seen.push(`a${step}`);
      },
      session,
    );
    hub.listen('steps', (step: number) => seen.push(`b${step}`), session);

    void hub.post('steps', 1);

    expect(seen).toEqual(['a1', 'b1', 'a2', 'b2']);
  });

  test('made by a listener of another channel is delivered before the call returns', () => {
    const { hub, session, seen } = setup();
    hub.listen(
      'outer',
      () => {
        void hub.post('inner', 'x');
        seen.push('outer done');
      },
      session,
    );
    hub.listen('inner', () => seen.push('inner'), session);

    void hub.post('outer', 'x');

    expect(seen).toEqual(['inner', 'outer done']);
  });

  test('that a listener makes without end fails instead of blocking the process', () => {
    const { hub, session, reporter } = setup();
    let count = 0;
    hub.listen(
      'loop',
      () => {
        count++;
        void hub.post('loop', count);
      },
      session,
    );

    void hub.post('loop', 0);

    expect(count).toBe(10_001);
    expect(reporter.listenerFailures).toHaveLength(1);
    expect(reporter.listenerFailures[0]!.error).toBeInstanceOf(LimitExceededError);
  });

  describe('made by a chain of listeners of different channels, each inside the previous one,', () => {
    const CHAIN = /^chain\/(\d+)$/;
    const nextOf = (channel: string) => `chain/${Number(CHAIN.exec(channel)![1]) + 1}`;

    test('reaches all of them, however many they are, and the channels work afterwards', () => {
      const { hub, session, seen, reporter } = setup();
      const last = 9_000;
      hub.listen(
        'chain/:n',
        (_message, { channel }) => {
          seen.push(channel);
          if (channel !== `chain/${last}`) void hub.post(nextOf(channel), 'x');
        },
        session,
      );

      void hub.post('chain/0', 'x');

      expect(reporter.listenerFailures).toEqual([]);
      expect(seen).toEqual(Array.from({ length: last + 1 }, (_, n) => `chain/${n}`));
      seen.length = 0;
      for (const n of [last, last - 1]) void hub.post(`chain/${n}`, 'again');
      expect(seen).toEqual([`chain/${last}`, `chain/${last - 1}`, `chain/${last}`]);
    });

    test('fails with an error that names the limit if there are more than 10,000', () => {
      const { hub, session, reporter } = setup();
      let count = 0;
      hub.listen(
        'chain/:n',
        (_message, { channel }) => {
          count++;
          void hub.post(nextOf(channel), 'x');
        },
        session,
      );

      void hub.post('chain/0', 'x');

      expect(count).toBe(10_001);
      expect(reporter.listenerFailures).toMatchObject([{ error: { code: 'LIMIT_EXCEEDED' } }]);
    });

    test('reaches them before the call returns, up to 32 levels deep', () => {
      const { hub, session, seen } = setup();
      hub.listen(
        'chain/:n',
        (_message, { channel }) => {
          if (channel !== 'chain/33') void hub.post(nextOf(channel), 'x');
          seen.push(channel);
        },
        session,
      );

      void hub.post('chain/0', 'x');

      const inner = Array.from({ length: 32 }, (_, n) => `chain/${31 - n}`);
      expect(seen).toEqual([...inner, 'chain/33', 'chain/32']);
    });

    test('comes after the messages that already wait on the same channel', () => {
      const { hub, session, seen } = setup();
      hub.listen('late', (message) => seen.push(message), session);
      hub.listen(
        'chain/:n',
        (_message, { channel }) => {
          if (channel === 'chain/31') {
            void hub.post('late', 1);
            void hub.post('late', 2);
          } else void hub.post(nextOf(channel), 'x');
          if (channel === 'chain/30') void hub.post('late', 3);
        },
        session,
      );

      void hub.post('chain/0', 'x');
      void hub.post('late', 4);

      expect(seen).toEqual([1, 2, 3, 4]);
    });
  });

  describe('made at the end of the stack', () => {
    test('fails at the call, and leaves channels that work', () => {
      const { hub, session, seen } = setup();
      const forward = (to: string) => (message: unknown) => {
        void hub.post(to, message);
      };
      hub.listen('a', forward('b'), session);
      hub.listen('a', (message) => message === 'first' && void hub.post('a', 'second'), session);
      hub.listen('b', (message) => message === 'first' && void hub.post('b', 'second'), session);
      const template = hub.listen(':any', () => {}, session);

      for (let run = 0; run < 20; run++) {
        if (run === 10) template.unsubscribe();
        // From another depth each time, so that the stack ends at another place.
        const from = (depth: number): void => {
          if (depth > 0) from(depth - 1);
          else atTheEnd(() => void hub.post('a', 'first'));
        };
        from(run);
      }

      hub.listen('a', (message) => seen.push(`a ${message as string}`), session);
      hub.listen('b', (message) => seen.push(`b ${message as string}`), session);
      void hub.post('a', 'first');
      expect(seen).toEqual(['b first', 'b second', 'a first', 'b second', 'a second']);
      expect(hub.deliveryOf('first')).toBeUndefined();
      expect(hub.deliveryOf('second')).toBeUndefined();
    });

    test('by a listener is reported as its failure, and messages that waited on its channel are delivered', () => {
      const { hub, session, seen, reporter } = setup();
      hub.listen(
        'deep',
        function descends(message) {
          if (message !== 'first') return;
          void hub.post('deep', 'second');
          atTheEnd(() => void hub.post('other', 'x'));
          throw new Error('on its way back');
        },
        session,
      );
      hub.listen('deep', (message) => seen.push(message), session);
      hub.listen('other', () => {}, session);

      void hub.post('deep', 'first');

      expect(seen).toEqual(['first', 'second']);
      expect(reporter.listenerFailures).toMatchObject([
        { listener: 'descends', error: { message: 'on its way back' } },
      ]);
    });

    test('leaves undelivered messages, which are delivered afterwards in order', async () => {
      const { hub, session, seen, reporter } = setup();
      hub.listen(
        'left',
        (message) => {
          seen.push(message);
          if (message === 1) for (const next of [2, 3]) void hub.post('left', next);
          if (message === 2) throw new Error('by a listener at the end of the stack');
        },
        session,
      );
      // There, the report fails like the listener.
      reporter.listenerFailed = () => {
        throw new RangeError('Maximum call stack size exceeded');
      };

      expect(() => hub.post('left', 1)).toThrow(RangeError);
      expect(seen).toEqual([1, 2]);
      await Promise.resolve();

      expect(seen).toEqual([1, 2, 3]);
      void hub.post('left', 4);
      expect(seen).toEqual([1, 2, 3, 4]);
    });
  });

  test.each([
    ['an empty name', '', 'has 0 characters; a name has 1 to 255'],
    ['256 characters', 'x'.repeat(256), 'a name has 1 to 255'],
    ['a line break', 'a\nb', 'contains "\\n"'],
    ['an asterisk', 'users.*', '"*"'],
    ['a lone surrogate', 'a\ud800', 'contains "\\ud800"'],
    ['the reserved prefix', 'messaging:revocations', 'reserved'],
    ['a template without its parameters', 'rooms/:roomId', 'is a template'],
    ['a parameter without a name', 'rooms/:', 'is no parameter'],
    ['a parameter twice', ':a/:a', 'names a parameter twice'],
    ['no channel at all', undefined, 'not undefined'],
    ['a number', 7, 'not 7'],
  ])('to %s is refused with an error that names the fault', (_case, channel, fault) => {
    const { hub } = setup();
    expect(() => hub.post(channel as string, 1)).toThrow(InvalidChannelError);
    expect(() => hub.post(channel as string, 1)).toThrow(fault);
  });

  test('to a defined template without its parameters is refused with the way to fill them', () => {
    const { hub } = setup();
    expect(() => hub.post(Rooms as never, 'x')).toThrow('.for({ … })');
  });

  test('to a reserved name stays refused even if the library itself listens there', () => {
    const { hub, session } = setup();
    const { definition } = Updates;
    hub.listen(
      new (Updates.constructor as never as new (...args: unknown[]) => typeof Updates)('messaging:own', definition),
      () => {},
      session,
    );
    expect(() => hub.post('messaging:own', 1)).toThrow('reserved');
  });

  test.each([
    [{ global: true }, RedisNotEnabledError, 'Redis needs to be enabled to use this method'],
    [{ scope: 'global' }, RedisNotEnabledError, 'Redis needs to be enabled to use this method'],
    [{ scope: 'planet' }, ConfigurationError, '"planet"'],
    [{ globl: true }, ConfigurationError, 'unknown option "globl"'],
    [null, ConfigurationError, 'postMessage: the options must be an object, not null'],
    [true, ConfigurationError, 'postMessage: the options must be an object, not true'],
    [[], ConfigurationError, 'postMessage: the options must be an object, not an array'],
    [{ global: 'no' }, ConfigurationError, 'postMessage: option "global" must be true or false, not "no"'],
    [{ id: 'x' }, ConfigurationError, 'needs a channel with history; "channel" keeps none'],
  ])('with the options %j is refused before any listener gets it', (options, type, text) => {
    const { hub, session, seen } = setup();
    hub.listen('channel', () => seen.push('called'), session);

    expect(() => hub.post('channel', 1, options as never)).toThrow(type);
    expect(() => hub.post('channel', 1, options as never)).toThrow(text);
    expect(seen).toEqual([]);
  });
});

describe('a listener', () => {
  test('that throws is reported with its name and channel, and the next ones still run', () => {
    const { hub, session, seen, reporter } = setup();
    const failure = new Error('broken');
    hub.listen(
      'channel',
      function breaks() {
        throw failure;
      },
      session,
    );
    hub.listen('channel', () => seen.push('next'), session);

    void hub.post('channel', 1);

    expect(seen).toEqual(['next']);
    expect(reporter.listenerFailures).toMatchObject([{ error: failure, channel: 'channel', listener: 'breaks' }]);
  });

  test('whose promise rejects is reported the same way', async () => {
    const { hub, session, reporter } = setup();
    const failure = new Error('later');
    hub.listen(
      'channel',
      async () => {
        throw failure;
      },
      session,
    );

    await hub.post('channel', 1);

    expect(reporter.listenerFailures).toMatchObject([{ error: failure, channel: 'channel' }]);
  });

  test('added twice is called twice, and ending one registration leaves the other', () => {
    const { hub, session, seen } = setup();
    const listener = () => seen.push('called');
    const first = hub.listen('channel', listener, session);
    hub.listen('channel', listener, session);

    void hub.post('channel', 1);
    first.unsubscribe();
    void hub.post('channel', 2);

    expect(seen).toHaveLength(3);
  });

  test('ends by the method of its handle alone, as the cleanup of an effect calls it', () => {
    const { hub, session, seen } = setup();
    const { unsubscribe } = hub.listen('a', () => seen.push('heard'), session);
    void hub.post('a', 1);
    unsubscribe();
    unsubscribe();
    void hub.post('a', 2);
    expect([seen, session.registrations()]).toEqual([['heard'], []]);
  });

  test('on two channels keeps the other one when one of them ends', () => {
    const { hub, session, seen } = setup();
    const listener = (message: unknown) => seen.push(message);
    hub.listen('a', listener, session).unsubscribe();
    hub.listen('b', listener, session);

    void hub.post('a', 'to a');
    void hub.post('b', 'to b');

    expect(seen).toEqual(['to b']);
  });

  test('that ends while a message is being delivered does not get that message', () => {
    const { hub, session, seen } = setup();
    hub.listen('channel', () => second.unsubscribe(), session);
    const second = hub.listen('channel', () => seen.push('second'), session);

    void hub.post('channel', 1);

    expect(second.closed).toBe(true);
    expect(seen).toEqual([]);
  });

  test('added while a message is being delivered gets only the next message', () => {
    const { hub, session, seen } = setup();
    hub.listen(
      'channel',
      (n) => {
        if (n === 1) hub.listen('channel', (m) => seen.push(m), session);
      },
      session,
    );

    void hub.post('channel', 1);
    void hub.post('channel', 2);

    expect(seen).toEqual([2]);
  });

  test.each([undefined, null, 'text', {}])('that is %p is refused', (listener) => {
    const { hub, session } = setup();
    expect(() => hub.listen('channel', listener as never, session)).toThrow(MessagingError);
    expect(() => hub.listen('channel', listener as never, session)).toThrow('A listener is a function');
  });

  test('on a template hears all of its channels and gets the parameters', () => {
    const { hub, session, seen } = setup();
    hub.listen(
      Rooms,
      (text: string, { channel, params }: MessageContext) => seen.push([text, channel, { ...params }]),
      session,
    );
    hub.listen('rooms/:any', (text, { params }) => seen.push([text, params['any']]), session);

    void hub.post(Rooms.for({ roomId: 42 }), 'hello');
    void hub.post('rooms/1/topic', 'deeper');
    void hub.post('rooms', 'shorter');

    expect(seen).toEqual([
      ['hello', 'rooms/42', { roomId: '42' }],
      ['hello', '42'],
    ]);
  });

  test('on a template and one on a channel of it run in the order of registration', () => {
    const { hub, session, seen } = setup();
    hub.listen('rooms/1', () => seen.push('1st'), session);
    hub.listen(Rooms, () => seen.push('2nd'), session);
    hub.listen('rooms/1', () => seen.push('3rd'), session);
    hub.listen('rooms/:x', () => seen.push('4th'), session);

    void hub.post('rooms/1', 'x');

    expect(seen).toEqual(['1st', '2nd', '3rd', '4th']);
  });

  test('on a template never hears the channels of the library itself', () => {
    const { hub, session, seen } = setup();
    hub.listen(':a/:b/:c/:d', (message) => seen.push(message), session);
    const fromSource = messagesFrom(sourceRef('Room', 'lobby'), UserUpdate);
    hub.listen(fromSource, () => seen.push('of the source'), session);

    void hub.post(fromSource, new UserUpdate(1));

    expect(seen).toEqual(['of the source']);
  });

  test('on a channel with parameters filled in gets them', () => {
    const { hub, session, seen } = setup();
    hub.listen(Rooms.for({ roomId: 'a b' }), (_text, { params }) => seen.push({ ...params }), session);

    void hub.post('rooms/a b', 'x');

    expect(seen).toEqual([{ roomId: 'a b' }]);
  });

  test('gets channel, type, origin, node and time', () => {
    const { hub, session } = setup();
    let context!: MessageContext;
    hub.listen(
      Updates,
      (_update, given) => {
        context = given;
      },
      session,
    );
    const before = Date.now();

    void hub.post(Updates, new UserUpdate(1));

    expect(context).toMatchObject({ channel: 'user_updates', type: 'UserUpdate', origin: 'local', node: hub.node });
    expect(context.postedAt).toBeGreaterThanOrEqual(before);
    expect(context.postedAt).toBeLessThanOrEqual(Date.now());
    expect(context.signal.aborted).toBe(false);
    session.close();
    expect(context.signal.aborted).toBe(true);
  });

  test('may end among many in any order without slowing the others down or missing a message', () => {
    const { hub, session, seen } = setup();
    const listeners = Array.from({ length: 500 }, (_, n) => hub.listen('channel', () => seen.push(n), session));
    for (const [n, listener] of listeners.entries()) if (n % 3 !== 0) listener.unsubscribe();

    void hub.post('channel', 'x');

    expect(seen).toEqual(Array.from({ length: 167 }, (_, n) => n * 3));
  });
});

describe('a listener of the library itself', () => {
  test('gets the delivery, in its place among the others, even through a template', () => {
    const { hub, session, seen } = setup();
    hub.listen('rooms/1', () => seen.push('before'), session);
    const take = ({ message, channel, serial }: Delivery) =>
      seen.push(`${message as string} on ${channel}, ${String(serial)}`);
    hub.tap(hub.heard('rooms/1'), take, session, 'a feed');
    hub.tap(hub.heard('rooms/:room'), take, session, 'a feed of all rooms');
    hub.listen('rooms/1', () => seen.push('after'), session);
    void hub.post('rooms/1', 'hello');
    expect(seen).toEqual(['before', 'hello on rooms/1, undefined', 'hello on rooms/1, undefined', 'after']);
  });

  test('that fails is reported with its name and a context, and the next ones still run', async () => {
    const { hub, session, seen, reporter } = setup();
    hub.tap(hub.heard('a'), fail, session, 'a feed');
    hub.tap(hub.heard('a'), async () => fail(), session, 'an async feed');
    hub.listen('a', (message) => seen.push(message), session);
    void hub.post('a', 'x');
    await Promise.resolve();
    expect(seen).toEqual(['x']);
    expect(reporter.listenerFailures.map(({ listener, context }) => [listener, context?.channel])).toEqual([
      ['a feed', 'a'],
      ['an async feed', 'a'],
    ]);
  });

  test('ends with its session, and learns of that', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    const events = { onSessionClose: () => seen.push('ended') };
    hub.tap(hub.heard('a'), () => seen.push('heard'), session, 'a feed', events);
    session.close();
    void hub.post('a', 'x');
    expect(seen).toEqual(['ended']);
  });
});

describe('a channel', () => {
  test('defined twice in the same way is one channel', () => {
    const { hub, session, seen } = setup();
    hub.listen(defineChannel('twice', UserUpdate), (update: UserUpdate) => seen.push(update.id), session);
    void hub.post(defineChannel('twice', UserUpdate), new UserUpdate(3));
    expect(seen).toEqual([3]);
  });

  test('defined twice in different ways is refused when the second one is used', () => {
    const { hub, session } = setup();
    class Other {}
    hub.listen(defineChannel('twice', UserUpdate), () => {}, session);
    expect(() => hub.post(defineChannel('twice', Other), new Other())).toThrow(ConfigurationError);
    expect(() => hub.listen(defineChannel('twice', Other), () => {}, session)).toThrow(
      'Channel "twice" is defined twice',
    );
  });

  test('of a class whose name belongs to another class of the application is refused', () => {
    const { hub, session } = setup();
    hub.listen(Updates, () => {}, session);
    const namesake = class {};
    Object.defineProperty(namesake, 'name', { value: 'UserUpdate' });
    expect(() => hub.listen(defineChannel('other', namesake), () => {}, session)).toThrow(
      'Two message classes are called "UserUpdate"',
    );
  });

  test.each([
    [{ history: { maxMessages: 10 } }, 'option "history" needs "ttlMs"'],
    [
      { history: { maxMessages: 0, ttlMs: 1_000 } },
      'history: option "maxMessages" must be a whole number of at least 1',
    ],
    [
      { history: { maxMessages: 1, ttlMs: 999 } },
      'option "ttlMs" must be a whole number of at least 1000, in milliseconds',
    ],
    [{ history: true }, 'the options must be an object, not true'],
    [{ history: { maxMessages: 1, ttlMs: 1_000 }, interop: true }, '"history" and "interop" exclude each other'],
    [
      { slowConsumer: 'drop' },
      `option "slowConsumer" must be one of "disconnect", "dropOldest", "conflate", not "drop"`,
    ],
    [{ slowConsumer: 'conflate' }, `options "slowConsumer: 'conflate'" and "conflateBy" need each other`],
    [{ conflateBy: () => 1 }, `options "slowConsumer: 'conflate'" and "conflateBy" need each other`],
    [{ clients: 'all' }, 'option "clients" must be true or false, not "all"'],
    [{ requiredScopes: 'chat' }, 'option "requiredScopes" must be an array of strings, not "chat"'],
    [{ histroy: {} }, 'unknown option "histroy"'],
    [{ interop: 'yes' }, 'option "interop" must be true or false'],
  ])('with the options %j is refused', (options, text) => {
    expect(() => defineChannel('optioned', undefined, options as never)).toThrow(ConfigurationError);
    expect(() => defineChannel('optioned', undefined, options as never)).toThrow(text);
  });

  test.each([
    [{}, 'needs its parameter "roomId"'],
    [{ roomId: '' }, 'must not be empty'],
    [{ roomId: 'a/b' }, 'contain "/"'],
    [{ roomId: ':x' }, 'begin with ":"'],
    [{ roomId: 'x', floor: 1 }, 'no parameter "floor"'],
    [{ roomId: {} }, 'as a string or a number'],
    [{ roomId: NaN }, 'as a string or a number, not NaN'],
    [{ roomId: -Infinity }, 'as a string or a number, not -Infinity'],
    [{ roomId: Symbol('s') }, 'as a string or a number, not Symbol(s)'],
  ])('of a template with the parameters %j is refused', (params, text) => {
    expect(() => Rooms.for(params as never)).toThrow(InvalidChannelError);
    expect(() => Rooms.for(params as never)).toThrow(text);
  });
});

describe('posts held for handlers that are not ready', () => {
  test('reach them in the order of posting, before anything they cause', () => {
    const { hub, session, seen } = setup();
    hub.holdPosts();
    void hub.post('a', 1);
    void hub.post('b', 2);
    void hub.post('a', 3);

    hub.release([
      hub.prepare(
        'a',
        (n: number) => {
          seen.push(`a${n}`);
          if (n === 1) void hub.post('a', 9);
        },
        session,
      ),
      hub.prepare('b', (n: number) => seen.push(`b${n}`), session),
    ]);
    void hub.post('a', 4);

    expect(seen).toEqual(['a1', 'b2', 'a3', 'a9', 'a4']);
  });

  test('reach other listeners at once, and only once', () => {
    const { hub, session, seen } = setup();
    hub.holdPosts();
    hub.listen('a', (n: number) => seen.push(`early ${n}`), session);
    void hub.post('a', 1);
    expect(seen).toEqual(['early 1']);

    hub.release([hub.prepare('a', (n: number) => seen.push(`late ${n}`), session)]);

    expect(seen).toEqual(['early 1', 'late 1']);
  });

  test('of the library itself are not for the templates of the application', () => {
    const { hub, session, seen } = setup();
    hub.holdPosts();
    void hub.post(messagesFrom(sourceRef('Room', 'lobby'), UserUpdate), new UserUpdate(1));

    hub.release([hub.prepare(':a/:b/:c/:d', (message) => seen.push(message), session)]);

    expect(seen).toEqual([]);
  });

  test('are limited, and the excess is reported', () => {
    const { hub, reporter } = setup();
    hub.holdPosts();
    for (let n = 0; n <= 10_000; n++) void hub.post('a', n);
    expect(reporter.rejections).toHaveLength(1);
    expect(reporter.rejections[0]!.error).toBeInstanceOf(LimitExceededError);
  });
});
