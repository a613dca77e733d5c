// Compiled by `npm run typecheck`, never run: each line marked must not compile, each other one must.
import { applyDecorators, Header, ParseIntPipe, SetMetadata, UseGuards } from '@nestjs/common';
import {
  Ctx,
  defineChannel,
  Message,
  messagesFrom,
  MessagingModule,
  OnGap,
  OnMessage,
  Payload,
  Sse,
  type Gap,
  type ListenableChannel,
  type MessageContext,
  type MessageParams,
  type MessagingOptions,
  type MessagingService,
  type Position,
  type PostableChannel,
} from 'nestjs-messaging';
import type { MessagingClient } from 'nestjs-messaging/client';
import { ClientInbox, Inbox, MessagingTestingModule, type RecordedPosts } from 'nestjs-messaging/testing';
import type { Request } from 'express';
import { of, type Observable } from 'rxjs';

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

const Users = defineChannel('users', UserUpdate);
const Rooms = defineChannel('rooms/:roomId/:topic', Said);
const Ticks = defineChannel<number>('ticks');

declare const AnyUsers: ListenableChannel<UserUpdate>;

export function posting(messages: MessagingService): void {
  void messages.postMessage(Users, new UserUpdate(1));
  // @ts-expect-error -- another class
  void messages.postMessage(Users, new Order('1'));
  // @ts-expect-error -- a plain value
  void messages.postMessage(Users, 7);
  void messages.postMessage(Ticks, 7);
  // @ts-expect-error -- not a number
  void messages.postMessage(Ticks, 'seven');
  void messages.postMessage(Rooms.for({ roomId: 1, topic: 'x' }), new Said('x'));
  // @ts-expect-error -- a template without its parameters
  void messages.postMessage(Rooms, new Said('x'));
  // @ts-expect-error -- a parameter is missing
  void messages.postMessage(Rooms.for({ roomId: 1 }), new Said('x'));
  // @ts-expect-error -- a parameter that the template does not have
  void messages.postMessage(Rooms.for({ roomId: 1, topic: 'x', floor: 2 }), new Said('x'));
  void messages.postMessage('users', 'a string takes anything');
  // @ts-expect-error -- no such scope
  void messages.postMessage('users', 1, { scope: 'planet' });
}

export function listening(messages: MessagingService): void {
  messages.addListener(Users, (update, { channel }) => [update.id, channel]);
  messages.addListener(Rooms, ({ text }) => text);
  ((cleanup: (this: void) => void) => cleanup)(messages.addListener(Rooms, () => {}).unsubscribe);
  messages.addListener(Rooms, (_, { params }) => params.roomId.length + params.topic.length);
  messages.addListener('rooms/:roomId', (_, { params }) => params.roomId.length);
  messages.addListener(AnyUsers, (_, { params }) => params['roomId']?.length);
  messages.addListener(Rooms, (_, { params }: MessageContext) => params['roomId']?.length);
  messages.addListener(messagesFrom(Order, Said), (_, { params }) => params.key.length);
  const enter = (_: Said, { params }: MessageContext<MessageParams<'rooms/:roomId/:topic'>>) => params.roomId.length;
  messages.addListener(Rooms, enter);
  messages.removeListener(Rooms, enter);
  // @ts-expect-error -- a parameter that the template does not have
  messages.addListener(Rooms, (_, { params }) => params.floor);
  // @ts-expect-error -- a channel without parameters
  messages.addListener(Users, (_, { params }) => params.roomId);
  messages.addListener<string>('users', (text) => text.length);
  // @ts-expect-error -- a listener for another class
  messages.addListener(Users, (order: Order) => order.total);
  messages.createStream(Users).subscribe((update) => update.id);
  // @ts-expect-error -- UserUpdate has no total
  messages.createStream(Users).subscribe((update) => void update.total);
  messages.addListener(messagesFrom(Order, Said), ({ text }) => text);
}

export async function replaying(messages: MessagingService): Promise<void> {
  const position: Position = await messages.position(Users);
  const { epoch, offset } = await messages.position('users');
  messages.addListener(Users, (update, { replayed }) => replayed && update.id, { replay: position });
  messages.addListener('users', () => {}, { replay: { epoch, offset } });
  messages.createStream(Users, { replay: 'latest' }).subscribe((update) => update.id);
  messages.iterate(Users, { replay: 50, maxBuffered: 10 });
  // @ts-expect-error -- neither a number, nor 'latest', nor a position
  messages.addListener(Users, () => {}, { replay: 'all' });
  // @ts-expect-error -- an offset alone is not a position
  messages.createStream(Users, { replay: { offset: 5 } });
  // @ts-expect-error -- a template has many positions
  await messages.position(Rooms);
}

/** Code for any channel accepts the same channels as the server's methods. */
export function generic<T>(
  messages: MessagingService,
  postable: PostableChannel<T>,
  listenable: ListenableChannel<T>,
  message: T,
): AsyncIterableIterator<T> {
  void messages.postMessage(postable, message);
  // @ts-expect-error -- anything
  void messages.postMessage(postable, {} as unknown);
  messages.addListener(listenable, (each) => void messages.postMessage(postable, each));
  // @ts-expect-error -- a listener for something else
  messages.addListener(listenable, (order: Order) => order.total);
  messages.removeListener(listenable, (each: T) => each);
  messages.createStream(listenable).subscribe((each) => void messages.postMessage(postable, each));
  // @ts-expect-error -- a template may stand there, which cannot be posted to
  void messages.postMessage(listenable, message);
  return messages.iterate(listenable);
}

export async function iterating(messages: MessagingService): Promise<void> {
  const iterator = messages.iterate(Users) satisfies AsyncIterableIterator<UserUpdate>;
  const { value } = await iterator.next();
  // @ts-expect-error -- UserUpdate has no total
  void value?.total;
  for await (const { text } of messages.iterate(Rooms)) void text.length;
  const texts: AsyncIterableIterator<string> = messages.iterate<string>('texts');
  await texts.return?.();
}

const onGap = ({ channel, reason, position }: Gap) => [channel.length, reason === 'broker', position?.offset];

export async function gaps(messages: MessagingService): Promise<void> {
  messages.addListener(Users, (update) => update.id, { onGap });
  messages.createStream(Users, { onGap }) satisfies Observable<UserUpdate>;
  messages.createStream('users', { onGap }) satisfies Observable<unknown>;
  for await (const { text } of messages.iterate(Rooms, { maxBuffered: 10, onGap })) void text.length;
  // @ts-expect-error -- no such option
  messages.addListener(Users, () => {}, { ongap: onGap });
  // @ts-expect-error -- a gap has no count
  messages.createStream(Users, { onGap: ({ count }) => void count });
  // @ts-expect-error -- a stream has no buffer
  messages.createStream(Users, { maxBuffered: 10 });
}

export class Handlers {
  @OnGap(Users)
  @OnGap('users')
  gap(gap: Gap) {
    return gap.reason;
  }

  @OnGap(Users)
  nothingOfIt() {}

  // @ts-expect-error -- it is told of gaps, not of messages
  @OnGap(Users)
  message(_update: UserUpdate) {}

  @OnMessage(Users)
  whole(_update: UserUpdate, _context: MessageContext) {}

  @OnMessage(Users)
  decorated(@Ctx() _context: MessageContext, @Payload('id', ParseIntPipe) _id: number) {}

  @OnMessage(Users)
  property(@Payload('id') _id: number) {}

  @OnMessage(Users)
  nothing() {}

  // @ts-expect-error -- a handler for another class
  @OnMessage(Users)
  other(_order: Order) {}

  @OnMessage('users')
  untyped(_anything: Order) {}

  @OnMessage(Users, { replay: 10 })
  @OnMessage('users', { replay: 'latest' })
  past(_update: UserUpdate) {}

  // @ts-expect-error -- a handler for another class
  @OnMessage(Users, { replay: 10 })
  otherPast(_order: Order) {}

  // @ts-expect-error -- @OnGap is for gaps
  @OnMessage(Users, { onGap: () => {} })
  noGaps(_update: UserUpdate) {}

  @Sse('fine')
  fine() {
    return of(1);
  }

  @Sse('promised')
  async promised() {
    return of(1);
  }

  // @ts-expect-error -- no stream
  @Sse('wrong')
  wrong() {
    return { data: 1 };
  }
}

/** As of Fastify: no subtype of Express' request. */
interface FastifyRequest {
  readonly id: string;
  readonly raw: object;
}

interface SignedIn extends Request {
  user: { id: bigint; roles: string[] };
}

export function authenticating(): void {
  MessagingModule.forRoot({ authenticate: (request: Request) => ({ userId: request.ip }) });
  MessagingModule.forRoot({ authenticate: ({ user }: SignedIn) => ({ id: user.id, scopes: user.roles }) });
  MessagingModule.forRoot({ authenticate: async (request: FastifyRequest) => Promise.resolve({ sub: request.id }) });
  MessagingModule.forRoot({ authenticate: (request) => ({ userId: request.headers['x-user']?.toString() }) });
  MessagingModule.forRoot({ authenticate: ({ user }: { user?: { key: number } }) => user && { userId: user.key } });
  // @ts-expect-error -- requests in general have no such property
  MessagingModule.forRoot({ authenticate: (request) => ({ userId: request.session as string }) });
  // @ts-expect-error -- who this is, is not said
  MessagingModule.forRoot({ authenticate: () => ({ name: 'ada' }) });
  // @ts-expect-error -- no id
  MessagingModule.forRoot({ authenticate: () => ({ userId: { oid: 1 } }) });
  MessagingModule.forRootAsync({
    useFactory: (): MessagingOptions<Request> => ({ authenticate: ({ ip }) => ({ userId: ip }) }),
  });
}

const forClasses = (type: Function) => void type.name;

export function securing(isPublic: () => ReturnType<typeof SetMetadata>): void {
  const both = applyDecorators(SetMetadata('roles', ['reader']), UseGuards());
  const forMethods = Header('x-gateway', 'yes');
  MessagingModule.forRoot({ gateway: { decorators: [isPublic(), both, forMethods, forClasses] } });
  // @ts-expect-error -- an array of them
  MessagingModule.forRoot({ gateway: { decorators: isPublic() } });
  // @ts-expect-error -- its name is no decorator
  MessagingModule.forRoot({ gateway: { decorators: ['isPublic'] } });
  MessagingModule.forRoot({ secret: 'of at least thirty-two characters' });
  MessagingModule.forRoot({
    secret: ['of at least thirty-two characters', 'and the one from before this one'] as const,
  });
  // @ts-expect-error -- what may be missing is not a secret among several
  MessagingModule.forRoot({ secret: [process.env['MESSAGING_SECRET']] });
}

export async function testing(posts: RecordedPosts): Promise<void> {
  posts.to(Users)[0]?.id.toFixed();
  (await posts.next(Ticks)).toFixed();
  (await posts.nextPost(Rooms)).message.text.trim();
  posts.to<Said>('rooms/1/x')[0]?.text.trim();
  posts.to(messagesFrom(Order, Said))[0]?.text.trim();
  (await posts.next(AnyUsers)).id.toFixed();
  const { options, channel } = await posts.nextPost(Users);
  channel.trim();
  // @ts-expect-error -- no such scope
  void (options.scope === 'planet');
  // @ts-expect-error -- another class
  const order: Order = await posts.next(Users);
  // @ts-expect-error -- what was posted to anything has no type
  void posts.all[0]?.message.id;
  // @ts-expect-error -- of another class
  const orders: Order[] = posts.to(Users);
  // @ts-expect-error -- by name alone, of whatever type
  void posts.to('users')[0]?.id;
  // @ts-expect-error -- in memory there is no Redis
  MessagingTestingModule.forRoot({ redis: 'redis://127.0.0.1' });
  MessagingTestingModule.forRoot({
    authenticate: ({ headers }) => ({ userId: String(headers.from) }),
    scope: 'async-local',
    gateway: true,
  });
  void [order, orders];
}

export async function awaiting(messages: MessagingService, client: MessagingClient): Promise<void> {
  const inbox = new Inbox(messages, Users, { replay: 'latest' });
  (await inbox.next()).id.toFixed();
  (await inbox.gaps.next()).reason.trim();
  (await new ClientInbox(client, Rooms).take(2))[0]?.text.trim();
  // @ts-expect-error -- another class
  const order: Order = await inbox.next();
  // @ts-expect-error -- no such option
  void new Inbox(messages, Users, { limit: 1 });
  void order;
}

/** As `exactOptionalPropertyTypes` would refuse it: settings that may be missing. */
export function passingOn(messages: MessagingService, id?: string, max?: number, replay?: Position): void {
  void messages.postMessage(Users, new UserUpdate(1), { id, scope: undefined, global: undefined });
  messages.addListener(Users, () => {}, { replay, onGap: undefined });
  void messages.iterate(Users, { maxBuffered: max, overflow: undefined, replay });
  defineChannel('passed_on', UserUpdate, { clients: undefined, slowConsumer: undefined, history: undefined });
  MessagingModule.forRoot({ limits: { maxConnections: max }, classValidator: { whitelist: undefined } });
}
