import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { Messenger } from '../../../lib/core/messenger.js';
import { Revocations } from '../../../lib/core/revocations.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { encodeEnvelope, envelopePrefix } from '../../../lib/protocol/envelope.js';
import { ConfigurationError, InvalidMessageError } from '../../../lib/protocol/errors.js';
import { Message } from '../../../lib/protocol/message.js';
import { MessageSource, Serializable } from '../../../lib/protocol/serializable.js';
import { messagesFrom } from '../../../lib/protocol/source.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

@Serializable({ name: 'guard-update' })
class UserUpdate {
  constructor(
    readonly id: number,
    readonly name = 'ada',
  ) {}
  get label(): string {
    return `${this.id} ${this.name}`;
  }
}
@Serializable({ name: 'guard-rename' })
class Rename extends UserUpdate {}
@Serializable({ name: 'guard-other' })
class Other {
  readonly id = 1;
}
class Quiet extends Message {
  readonly n = 1;
}
@MessageSource({ name: 'GuardSource', key: 'name' })
class Source {
  readonly name = 'main';
}

const Updates = defineChannel('guard/updates', UserUpdate);
const Rooms = defineChannel('guard-rooms/:roomId', UserUpdate);
const SpecialRoom = defineChannel('guard-rooms/special', Other);
const AnyGuarded = defineChannel(':area/guarded', Other);
const Guarded = defineChannel('guard/guarded', UserUpdate);

function setup(transport?: MemoryTransport) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport });
  const heard: unknown[] = [];
  const hear = (message: unknown): void => void heard.push(message);
  return { reporter, hub, heard, hear };
}

function loadTwice() {
  @Serializable({ name: 'guard-twice' })
  class Twice {
    readonly id = 1;
  }
  return Twice;
}

async function receiving(channel: typeof Updates | string | typeof Rooms) {
  const broker = new MemoryBroker();
  const near = setup(new MemoryTransport(broker));
  await near.hub.start();
  const heard = new Queue<unknown>();
  const { ready } = near.hub.listen(channel, heard.push, near.hub.root);
  await ready;
  const raw = new MemoryTransport(broker);
  await raw.start(() => {});
  return { ...near, heard, publish: (payload: string, name = 'guard/updates') => raw.publish(name, payload) };
}

const NOT_INSTANCES: [string, () => unknown, string][] = [
  ['a plain object of the same form', () => ({ id: 1, name: 'ada' }), 'an object'],
  ['an object that names the class as its constructor', () => ({ id: 1, constructor: UserUpdate }), 'an object'],
  ['an object without a prototype', () => Object.create(null) as unknown, 'an object'],
  ['an instance of another class', () => new Other(), 'an instance of Other'],
  ['a text', () => 'ada', 'a string'],
  ['null', () => null, 'null'],
  ['nothing', () => undefined, 'undefined'],
  ['the class itself', () => UserUpdate, 'the function UserUpdate'],
  ['its prototype', () => UserUpdate.prototype, 'an object'],
  ['a list of instances', () => [new UserUpdate(1)], 'an array'],
];

describe('A post to a channel of a class', () => {
  test.each(NOT_INSTANCES)('of %s is refused at once, and no listener gets it', async (_what, make, said) => {
    const broker = new MemoryBroker();
    const { hub, heard, hear } = setup(new MemoryTransport(broker));
    const far = setup(new MemoryTransport(broker));
    await Promise.all([hub.start(), far.hub.start()]);
    hub.listen(Updates, hear, hub.root);
    const there = new Queue<unknown>();
    await far.hub.listen(Updates, there.push, far.hub.root).ready;

    for (const options of [undefined, { scope: 'auto' }, { global: true }] as const) {
      const post = () => hub.post(Updates, make(), options);
      expect(post).toThrow(InvalidMessageError);
      expect(post).toThrow(`Channel "guard/updates" carries UserUpdate: post new UserUpdate(…), not `);
      expect(post).toThrow(said);
    }
    expect(heard).toEqual([]);

    const right = new UserUpdate(2);
    await hub.post(Updates, right, { global: true });
    expect(heard).toEqual([right]);
    expect(await there.next()).toEqual(right);
    expect(far.reporter.rejections).toEqual([]);
    await Promise.all([hub.close(), far.hub.close()]);
  });

  test('accepts instances of the class and its subclasses, however they were made', () => {
    const { hub, heard, hear } = setup();
    hub.listen(Updates, hear, hub.root);
    const made = [
      new UserUpdate(1),
      new Rename(2),
      Object.assign(Object.create(UserUpdate.prototype) as UserUpdate, { id: 3 }),
      new Proxy(new UserUpdate(4), {}),
      Object.freeze(new UserUpdate(5)),
    ];
    for (const message of made) void hub.post(Updates, message);
    expect(heard).toEqual(made);
  });

  test('is judged by prototypes, not by claims of the class', () => {
    class Liberal {
      readonly id = 1;
      static [Symbol.hasInstance](): boolean {
        return true;
      }
    }
    const { hub } = setup();
    expect(() => hub.post(defineChannel('guard/liberal', Liberal), { id: 1 })).toThrow(InvalidMessageError);
  });

  test('of an instance of a class that was loaded twice is refused with both places', () => {
    const [First, Second] = [loadTwice(), loadTwice()];
    const { hub } = setup();
    const channel = defineChannel('guard/twice', First);
    expect(() => hub.post(channel, new Second())).toThrow(
      /not an instance of another class of that name \(.*class-guard\.spec\.ts:\d+:\d+ and .*a module that was loaded twice/,
    );
    void hub.post(channel, new First());
  });

  test('by its plain name follows the same rule as soon as this application uses the class', () => {
    const { hub, heard, hear } = setup();
    void hub.post('guard/updates', 'nobody knows of the class');
    hub.listen(Updates, hear, hub.root);
    hub.listen('guard-rooms/1', hear, hub.root);
    expect(() => hub.post('guard/updates', { id: 1 })).toThrow('carries UserUpdate');
    void hub.post('guard-rooms/1', 'still free');
    const template = hub.listen(Rooms, hear, hub.root);
    expect(() => hub.post('guard-rooms/1', { id: 1 })).toThrow('Channel "guard-rooms/1" carries UserUpdate');
    expect(() => hub.post('guard-rooms/2', { id: 1 })).toThrow('carries UserUpdate');
    template.unsubscribe();
    expect(() => hub.post('guard-rooms/3', { id: 1 })).toThrow('carries UserUpdate');
    void hub.post('guard-rooms/1', new UserUpdate(1));
    expect(heard).toEqual(['still free', new UserUpdate(1)]);
    void hub.post('guard-elsewhere/1', { id: 1 });
  });

  test('that has its own definition within a template accepts only its own class, whoever listens first', () => {
    const { hub, heard, hear } = setup();
    hub.listen(Rooms.for({ roomId: 'special' }), hear, hub.root);
    hub.listen(SpecialRoom, hear, hub.root);
    expect(() => hub.post(Rooms.for({ roomId: 'special' }), new UserUpdate(1))).toThrow('carries Other');
    expect(() => hub.post('guard-rooms/special', new UserUpdate(1))).toThrow('carries Other');
    void hub.post(SpecialRoom, new Other());
    expect(heard).toEqual([new Other(), new Other()]);
  });

  test('does not reach listeners of a template of another class, which is reported', () => {
    const { hub, heard, hear, reporter } = setup();
    hub.listen(AnyGuarded, (message) => heard.push(['any', message]), hub.root);
    hub.listen(Guarded, hear, hub.root);
    void hub.post(Guarded, new UserUpdate(1));
    expect(heard).toEqual([new UserUpdate(1)]);
    expect(reporter.rejections).toMatchObject([
      {
        channel: 'guard/guarded',
        error: { message: 'the channel carries Other, not an instance of UserUpdate' },
      },
    ]);
  });

  test('before the handlers are ready does not reach a handler of a class either', () => {
    const { hub, heard, hear, reporter } = setup();
    hub.holdPosts();
    void hub.post('guard/updates', { id: 1 });
    void hub.post('guard/updates', new UserUpdate(2));
    hub.release([hub.prepare(Updates, hear, hub.root)]);
    expect(heard).toEqual([new UserUpdate(2)]);
    expect(reporter.rejections).toHaveLength(1);
  });

  test('of a source has the class of the pair', () => {
    const { hub } = setup();
    const channel = messagesFrom(new Source(), Quiet);
    expect(() => hub.post(channel, { n: 1 })).toThrow('carries Quiet: post new Quiet(…)');
    class Plain extends Messenger {
      constructor() {
        super(hub, new Revocations(hub));
      }
      protected override sessionFor() {
        return hub.root;
      }
    }
    expect(() => new Plain().sendMessage(new Source(), { n: 1 })).toThrow('has no class');
  });
});

test('A channel without a class accepts anything', () => {
  const { hub, heard, hear } = setup();
  const free = defineChannel('guard/free');
  hub.listen(free, hear, hub.root);
  for (const message of [{ id: 1 }, 'x', null, new Other()]) void hub.post(free, message);
  expect(heard).toHaveLength(4);
});

test.each([String, Number, Boolean])(
  'A channel of %p is refused with advice, because nobody posts its instances',
  (type) => {
    const define = () =>
      new Hub({ reporter: new RecordingReporter() }).post(defineChannel(`guard/${type.name}`, type as never), 'x');
    expect(define).toThrow(ConfigurationError);
    expect(define).toThrow('for plain values leave out the class');
  },
);

describe('A message that arrives on a channel of a class', () => {
  const node = envelopePrefix('3d5c6a8e-0000-4000-8000-000000000000');
  const written = (data: string, type?: string) =>
    encodeEnvelope('guard/updates', node, { postedAt: 1, serial: 1 }, { data, type });

  test.each([
    ['without a type', written('{"id":1,"name":"ada"}'), 'the channel carries UserUpdate, not an object'],
    ['with the type of another class', written('{"id":1}', 'guard-other'), 'not an instance of Other'],
    ['without an object', written('"ada"'), 'not a string'],
    ['with an unknown type', written('{"id":1}', 'guard-t'), '"guard-t" is not known here'],
    [
      'from a stock client, with no object',
      '{"pattern":"guard/updates","data":"ada"}',
      'a string is no "guard-update"',
    ],
  ])('%s is rejected and reported, and the next message arrives', async (_what, payload, problem) => {
    const { heard, publish, reporter, hub } = await receiving(Updates);
    await publish(payload);
    await publish(written('{"id":2,"name":"eve"}', 'guard-rename'));
    const message = await heard.next();
    expect(message).toBeInstanceOf(Rename);
    expect((message as Rename).label).toBe('2 eve');
    expect(heard.pending).toEqual([]);
    expect(hub.rejectedCount).toBe(1);
    expect(reporter.rejections).toMatchObject([
      {
        channel: 'guard/updates',
        error: expect.objectContaining({ message: expect.stringContaining(problem) as unknown }),
      },
    ]);
    await hub.close();
  });

  test('from a stock client becomes an instance, even for listeners by name and by template', async () => {
    const { heard, publish, hub } = await receiving('guard/updates');
    await publish('{"pattern":"guard/updates","data":{"id":1}}');
    expect(await heard.next()).toEqual({ id: 1 });
    hub.listen(Updates, () => {}, hub.root);
    await publish('{"pattern":"guard/updates","data":{"id":1}}');
    expect(await heard.next()).toBeInstanceOf(UserUpdate);
    await hub.close();

    const rooms = await receiving(Rooms);
    await rooms.publish('{"pattern":"guard-rooms/1","data":{"id":1}}', 'guard-rooms/1');
    expect(await rooms.heard.next()).toBeInstanceOf(UserUpdate);
    await rooms.hub.close();
  });
});

describe('A value that cannot be read', () => {
  test('is refused on a channel of a class, and reaches local listeners of any other channel', async () => {
    const { hub, heard, hear } = setup(new MemoryTransport(new MemoryBroker()));
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(() => hub.post(Updates, proxy as UserUpdate)).toThrow(
      new InvalidMessageError(
        'Channel "guard/updates" carries UserUpdate: post new UserUpdate(…), not a value that cannot be read',
      ),
    );
    hub.listen('guard/any', hear, hub.root);
    await hub.post('guard/any', proxy);
    expect(heard).toHaveLength(1);
    expect(() => hub.post('guard/any', proxy, { global: true })).toThrow(/^message: it cannot be read: /);
    expect(heard).toHaveLength(1);
    await hub.close();
  });

  test('does not keep a wrong message from being refused: a class whose name is not a text', () => {
    const { hub } = setup();
    class Odd {
      readonly n = 1;
    }
    Object.defineProperty(Odd, 'name', { value: Symbol('odd') });
    const channel = defineChannel('guard/odd', Odd);
    expect(() => hub.post(channel, { n: 1 })).toThrow(
      new InvalidMessageError('Channel "guard/odd" carries instances of an unnamed class, not an object'),
    );
  });
});
