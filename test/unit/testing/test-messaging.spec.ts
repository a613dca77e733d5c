import 'reflect-metadata';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { IsInt } from 'class-validator';
import {
  ConfigurationError,
  defineChannel,
  InvalidChannelError,
  InvalidMessageError,
  messagesFrom,
  type MessagingService,
  type SessionMessages,
  sourceRef,
  Message,
  MessageSource,
  UnserializableError,
} from 'nestjs-messaging';
import {
  createTestMessaging,
  Inbox,
  MemoryBroker,
  MemoryTransport,
  recordPosts,
  type TestMessaging,
} from 'nestjs-messaging/testing';

class Placed {
  @IsInt()
  readonly id: number;

  constructor(id: number) {
    this.id = id;
  }
}

@MessageSource({ key: 'id' })
class Order {
  constructor(readonly id: number) {}
}

class Shipped extends Message {
  constructor(readonly place: string) {
    super();
  }
}

const OrdersPlaced = defineChannel('testing/orders_placed', Placed);
const ShopOrders = defineChannel('testing/shops/:shopId/orders', Placed);
const Kept = defineChannel('testing/kept', Placed, { history: { maxMessages: 10, ttlMs: 60_000 } });

/** As in an application. */
class Orders {
  constructor(private readonly messages: MessagingService) {}

  place(id: number): Promise<boolean> {
    return this.messages.postMessage(OrdersPlaced, new Placed(id), { global: true });
  }
}

class Cart {
  constructor(private readonly messages: SessionMessages) {}

  async buy(): Promise<string> {
    const { auth } = this.messages.session;
    await this.messages.postMessage(OrdersPlaced, new Placed(1));
    return String(auth?.userId);
  }
}

let messaging: TestMessaging;

beforeEach(async () => {
  messaging = await createTestMessaging();
});
afterEach(() => messaging[Symbol.asyncDispose]());

describe('Messaging without an application', () => {
  test('serves a service that injects MessagingService; its global posts are accepted', async () => {
    expect(await new Orders(messaging.service).place(7)).toBe(true);
    expect(messaging.posts.to(OrdersPlaced)).toEqual([new Placed(7)]);
  });

  test('serves a service that injects SessionMessages, as the user set by the test', async () => {
    const session = messaging.openSession({ auth: { userId: 'ada' } });
    expect(await new Cart(session).buy()).toBe('ada');
    expect(messaging.posts.to(OrdersPlaced)).toEqual([new Placed(1)]);
  });

  test('delivers to listeners at once, and closes sessions at the end', async () => {
    const heard: number[] = [];
    const session = messaging.openSession();
    session.addListener(OrdersPlaced, ({ id }) => heard.push(id));
    void new Orders(messaging.service).place(7);
    expect(heard).toEqual([7]);
    await messaging[Symbol.asyncDispose]();
    expect(session.session.closed).toBe(true);
  });

  test('refuses the same posts as an application: values that cannot be sent, or that break the rules of their class', () => {
    expect(() => messaging.service.postMessage('testing/any', new WeakMap(), { global: true })).toThrow(
      UnserializableError,
    );
    expect(() => messaging.service.postMessage(OrdersPlaced, new Placed(0.5))).toThrow(InvalidMessageError);
    expect(messaging.posts.all).toEqual([]);
  });

  test('hears the other server of its broker', async () => {
    const broker = new MemoryBroker();
    await using one = await createTestMessaging({ broker });
    await using two = await createTestMessaging({ broker });
    const inbox = new Inbox(two.service, OrdersPlaced);
    await inbox.ready;
    await new Orders(one.service).place(7);
    expect(await inbox.next()).toEqual(new Placed(7));
    expect(two.posts.all).toEqual([]);
  });

  test('has an inbox that starts with earlier messages, and refuses wrong options', async () => {
    const { service } = messaging;
    await service.postMessage(Kept, new Placed(1), { global: true });
    const inbox = new Inbox(service, Kept, { replay: 5 });
    await service.postMessage(Kept, new Placed(2), { global: true });
    expect(await inbox.take(2)).toEqual([new Placed(1), new Placed(2)]);
    expect(() => new Inbox(service, Kept, { replay: 0 })).toThrow(ConfigurationError);
  });

  test.each<[string, (inbox: Inbox<Placed>) => unknown, RegExp]>([
    ['it is disposed of', (inbox) => inbox[Symbol.dispose](), /testing\/orders_placed: it was disposed of/],
    ['its session closes', () => messaging[Symbol.asyncDispose](), /testing\/orders_placed: its session has closed/],
  ])('has an inbox whose waiting rejects when %s, without an unhandled rejection', async (_, end, text) => {
    const inbox = new Inbox(messaging.service, OrdersPlaced);
    const [message, gap] = [inbox.next(), inbox.gaps.next()];
    void inbox.next();
    await end(inbox);
    await expect(message).rejects.toThrow(text);
    await expect(gap).rejects.toThrow(text);
    await expect(inbox.take(1)).rejects.toThrow(text);
  });

  test.each<[string, () => unknown, RegExp]>([
    ['they are disposed of', () => messaging.posts[Symbol.dispose](), /Recorded posts: they were disposed of/],
    ['the application closes', () => messaging[Symbol.asyncDispose](), /Recorded posts: the application has closed/],
  ])('has posts whose waiting rejects when %s, without an unhandled rejection', async (_, end, text) => {
    const next = messaging.posts.next(OrdersPlaced);
    void messaging.posts.next(OrdersPlaced);
    await end();
    await expect(next).rejects.toThrow(text);
    await expect(messaging.posts.next(OrdersPlaced)).rejects.toThrow(text);
  });

  test.each([
    [{ redis: 'redis://127.0.0.1' }, /createTestMessaging\(\): option "redis"/],
    [{ broker: {} }, /createTestMessaging\(\): option "broker" must be a MemoryBroker/],
    [{ broker: new MemoryBroker(), transport: {} }, /either "broker" or "transport"/],
    [{ limit: {} }, /unknown option "limit"/],
    [5, /createTestMessaging\(\)/],
  ])('refuses wrong options: %j', async (options, text) => {
    const made = createTestMessaging(options as never);
    await expect(made).rejects.toThrow(ConfigurationError);
    await expect(made).rejects.toThrow(text);
  });
});

test('The testing kit names a target that it cannot record or join', () => {
  expect(() => recordPosts({} as never)).toThrow('recordPosts(): give it an application or a testing module');
  expect(() => new MemoryTransport(7 as never)).toThrow('new MemoryTransport(): give it a MemoryBroker, not 7');
});

describe('Recorded posts', () => {
  test('are separated by channel; a template stands for all of its channels', async () => {
    const { service, posts } = messaging;
    await service.postMessage(ShopOrders.for({ shopId: 1 }), new Placed(1));
    await service.postMessage(OrdersPlaced, new Placed(2), { scope: 'auto' });
    await service.postMessage('testing/shops/2/orders', new Placed(3));
    expect(posts.to(ShopOrders)).toEqual([new Placed(1), new Placed(3)]);
    expect(posts.to(ShopOrders.for({ shopId: 2 }))).toEqual([new Placed(3)]);
    expect(posts.to<Placed>('testing/orders_placed').map(({ id }) => id)).toEqual([2]);
    expect(posts.to('testing/shops/:id/orders')).toHaveLength(2);
    expect(posts.all).toEqual([
      { channel: 'testing/shops/1/orders', message: new Placed(1), options: {} },
      { channel: 'testing/orders_placed', message: new Placed(2), options: { scope: 'auto' } },
      { channel: 'testing/shops/2/orders', message: new Placed(3), options: {} },
    ]);
  });

  test('contain the posted instance, even of a channel with history', async () => {
    const placed = new Placed(1);
    await messaging.service.postMessage(Kept, placed, { id: 'once' });
    expect(messaging.posts.to(Kept)[0]).toBe(placed);
    expect((await messaging.posts.nextPost(Kept)).options).toEqual({ id: 'once' });
  });

  test('include messages of a source', async () => {
    await messaging.service.sendMessage(new Order(7), new Shipped('Gdynia'));
    expect(messaging.posts.to(messagesFrom(sourceRef(Order, 7), Shipped))).toEqual([new Shipped('Gdynia')]);
    expect(messaging.posts.to(messagesFrom(sourceRef(Order, 8), Shipped))).toEqual([]);
  });

  test('are awaited one after the other, including earlier ones', async () => {
    const { service, posts } = messaging;
    await service.postMessage(OrdersPlaced, new Placed(1));
    const [first, second, third] = [posts.next(OrdersPlaced), posts.next(OrdersPlaced), posts.next(OrdersPlaced)];
    await service.postMessage(ShopOrders.for({ shopId: 1 }), new Placed(99));
    await service.postMessage(OrdersPlaced, new Placed(2));
    await service.postMessage(OrdersPlaced, new Placed(3));
    expect(await Promise.all([first, second, third])).toEqual([1, 2, 3].map((id) => new Placed(id)));
    expect((await posts.nextPost(ShopOrders)).channel).toBe('testing/shops/1/orders');
  });

  test('keep their order if a listener posts in turn', async () => {
    const { service, posts } = messaging;
    service.addListener(
      OrdersPlaced,
      ({ id }) => void (id < 3 && service.postMessage(OrdersPlaced, new Placed(id + 1))),
    );
    await service.postMessage(OrdersPlaced, new Placed(1));
    expect(posts.to(OrdersPlaced).map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  test('do not contain a refused post, and nobody waits for it', async () => {
    const { service, posts } = messaging;
    const next = posts.next('testing/any');
    expect(() => service.postMessage('testing/any', () => {}, { global: true })).toThrow(UnserializableError);
    await service.postMessage('testing/any', 'fine');
    expect(await next).toBe('fine');
    expect(posts.to('testing/any')).toEqual(['fine']);
  });

  test('do not contain the library’s own posts', async () => {
    await messaging.service.revokeAuthentication('ada');
    expect(messaging.posts.all).toEqual([]);
  });

  test('can be cleared, and end', async () => {
    const { service, posts } = messaging;
    await service.postMessage(OrdersPlaced, new Placed(1));
    posts.clear();
    await service.postMessage(OrdersPlaced, new Placed(2));
    expect(posts.to(OrdersPlaced)).toEqual([new Placed(2)]);
    posts[Symbol.dispose]();
    await service.postMessage(OrdersPlaced, new Placed(3));
    expect(posts.to(OrdersPlaced)).toEqual([new Placed(2)]);
  });

  test('are not available under a wrong name', async () => {
    const { posts } = messaging;
    expect(() => posts.to('')).toThrow(InvalidChannelError);
    await expect(posts.next('a*')).rejects.toThrow(InvalidChannelError);
  });
});
