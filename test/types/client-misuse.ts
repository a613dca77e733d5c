// Compiled by `npm run typecheck`, never run: each line marked must not compile, each other one must.
import {
  defineChannel,
  Message,
  messagesFrom,
  MessagingClient,
  sourceRef,
  type ClientMessageContext,
  type ClientSubscription,
  type ListenHandle,
  type MessageParams,
} from 'nestjs-messaging/client';
import { from, type Observable, type Unsubscribable } from 'rxjs';

class UserUpdate {
  constructor(readonly id: number) {}
}
class Order {
  constructor(readonly total: string) {}
}
class Said extends Message {
  constructor(readonly text: string) {
    super();
  }
}
class Server {
  constructor(readonly name: string) {}
}

const Users = defineChannel('users', UserUpdate);
const Rooms = defineChannel('rooms/:roomId/:topic', Said);
const Ticks = defineChannel<number>('ticks');

export async function subscribing(client: MessagingClient, signal?: AbortSignal): Promise<ClientSubscription> {
  await client.subscribe(Users, (update, { channel, params, type, postedAt }) => [
    update.id.toFixed(),
    channel.length + postedAt.valueOf(),
    params,
    type?.length,
  ]);
  await client.subscribe(Rooms, (said, { params }) => params.roomId.length + params.topic.length + said.text.length);
  await client.subscribe(Rooms.for({ roomId: 1, topic: 'x' }), (_, { params }) => params.topic.length);
  await client.subscribe('rooms/:roomId', (_, { params }) => params.roomId.length);
  await client.subscribe(Users.name, (_, { params }) => params['roomId']?.length);
  await client.subscribe(new Server('x'), Said, (_, { params }) => params.key.length);
  await client.subscribe(messagesFrom(Server, Said), (_, { params }) => params.key.length);
  await client.subscribe(Rooms, (_, { params }: ClientMessageContext) => params['roomId']?.length);
  const enter = (_: Said, { params }: ClientMessageContext<MessageParams<'rooms/:roomId/:topic'>>) =>
    params.roomId.length;
  await client.subscribe(Rooms, enter);
  await client.unsubscribe(Rooms, enter);
  // @ts-expect-error -- a parameter that the template does not have
  await client.subscribe(Rooms, (_, { params }) => params.floor);
  // @ts-expect-error -- a channel without parameters
  await client.subscribe(Users, (_, { params }) => params.roomId);
  // @ts-expect-error -- a listener for another template
  await client.subscribe(defineChannel('halls/:hallId', Said), enter);
  // @ts-expect-error -- UserUpdate has no total
  await client.subscribe(Users, (update) => update.total);
  // @ts-expect-error -- a listener for another class
  await client.subscribe(Users, (order: Order) => order.total);
  // @ts-expect-error -- a listener for another class, with options
  await client.subscribe(Users, (order: Order) => order.total, { signal });
  // @ts-expect-error -- no such option
  await client.subscribe(Users, () => {}, { timeout: 1 });
  // @ts-expect-error -- no listener
  await client.subscribe(Users);
  await client.subscribe(Ticks, (tick) => tick.toFixed(), { signal });
  await client.subscribe(Rooms, ({ text }) => text.length);
  await client.subscribe(Rooms.for({ roomId: 1, topic: 'x' }), ({ text }) => text.length);
  // @ts-expect-error -- a parameter is missing
  await client.subscribe(Rooms.for({ roomId: 1 }), () => {});
  // @ts-expect-error -- a parameter that the template does not have
  await client.subscribe(Rooms.for({ roomId: 1, topic: 'x', floor: 2 }), () => {});
  await client.subscribe('users', (order: Order) => order.total);
  await client.subscribe<string>('users', (text) => text.length);
  await client.subscribe(messagesFrom(Server, Said), ({ text }) => text.length);
  await client.subscribe(new Server('x'), Said, ({ text }) => text.length, { signal });
  await client.subscribe(sourceRef('Server', 'x'), Said, (said: Said) => said.text);
  // @ts-expect-error -- a listener for another class
  await client.subscribe(sourceRef('Server', 'x'), Said, (order: Order) => order.total);
  // @ts-expect-error -- no class
  await client.subscribe(new Server('x'), 'Said', () => {});
  return client.subscribe(Server, Said, () => {});
}

export async function listening(client: MessagingClient, signal?: AbortSignal): Promise<ClientSubscription> {
  const handle = client.listen(Rooms, ({ text }, { params }) => text.length + params.topic.length, { signal });
  // As the cleanup of an effect.
  const cleanUp: () => void | { readonly none: never } = () => handle.unsubscribe();
  cleanUp();
  using other: ListenHandle = client.listen(new Server('x'), Said, (_, { params }) => params.key.length);
  const wrapped: Unsubscribable = other;
  wrapped.unsubscribe();
  // @ts-expect-error -- a listener for another class
  client.listen(Users, (order: Order) => order.total);
  // @ts-expect-error -- no such option
  client.listen(Users, () => {}, { timeout: 1 });
  // @ts-expect-error -- no listener
  client.listen(Users);
  return await handle.ready;
}

export async function unsubscribing(client: MessagingClient, said: (message: Said) => void): Promise<void> {
  await client.unsubscribe('users');
  await client.unsubscribe(Rooms, said);
  await client.unsubscribe(new Server('x'), Said, said);
  await client.unsubscribe(new Server('x'), Said);
  // @ts-expect-error -- a listener for another class
  await client.unsubscribe(Users, said);
  // @ts-expect-error -- a source without the class of its messages
  await client.unsubscribe(sourceRef('Server', 'x'));
}

export async function streaming(client: MessagingClient): Promise<Observable<Said>> {
  for await (const { id } of client.createStream(Users, { maxBuffered: 1, overflow: 'dropOldest' })) id.toFixed();
  // @ts-expect-error -- UserUpdate has no total
  for await (const { total } of client.createStream(Users)) void total;
  // @ts-expect-error -- no such way
  client.createStream(Users, { overflow: 'block' });
  client.createStream(Ticks).subscribe({ next: (tick) => void tick.toFixed() });
  ((cleanup: (this: void) => void) => cleanup)(client.createStream(Ticks).subscribe({}).unsubscribe);
  return from(client.createStream(sourceRef('Server', 'x'), Said));
}

export function watching(client: MessagingClient): void {
  const stop: () => void = client.onStatus(({ state, reason, error, retryAt }) => [
    state,
    reason,
    error?.message,
    retryAt,
  ]);
  stop();
  // @ts-expect-error -- no such state
  client.onStatus(({ state }) => state === 'offline');
  client.onGap(({ channel, reason }) => channel.length + reason.length);
}

export function signingIn(token: string | undefined, setting: 'include' | undefined): MessagingClient[] {
  const now = token === undefined ? {} : { authorization: token };
  return [
    new MessagingClient({ url: '/messages', headers: { authorization: token } }),
    new MessagingClient({ url: '/messages', headers: async () => now, credentials: setting }),
    new MessagingClient({ url: '/messages', headers: () => new Headers(), fetch: undefined, onError: undefined }),
    // @ts-expect-error -- headers are texts
    new MessagingClient({ url: '/messages', headers: { 'x-count': 1 } }),
  ];
}
