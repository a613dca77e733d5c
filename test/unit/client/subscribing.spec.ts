import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import {
  ChannelDeniedError,
  ConfigurationError,
  ConnectionClosedError,
  defineChannel,
  IdentityMap,
  InvalidChannelError,
  InvalidMessageError,
  LimitExceededError,
  Message,
  MessageSource,
  MessagingClient,
  MessagingError,
  Serializable,
  shareAcrossTabs,
  sourceRef,
  type Class,
  type ClientMessageContext,
  type ClientStatus,
  type MessagingClientOptions,
} from 'nestjs-messaging/client';
import { markRaw, reactive } from 'vue';
import { Queue } from '../../support/queue.js';
import { Harness, soon } from './harness.js';

class ChatMessage extends Message {
  constructor(readonly text: string) {
    super();
  }
}
@Serializable({ name: 'client-test-user', key: 'id' })
class User {
  constructor(
    readonly id: number,
    readonly name: string,
  ) {}
}
@MessageSource({ name: 'ChatServer', key: 'name' })
class ChatServer {
  constructor(readonly name: string) {}
}
const Rooms = defineChannel('rooms/:roomId', ChatMessage);

const unprintable = () =>
  Object.defineProperty(new Error(), 'message', {
    get: () => {
      throw new Error('trap');
    },
  });

const fault = (name: string) => new ConfigurationError(`class "${name}": name it with defineMessage('name', Class)`);

/** The code of another program, with its white space. */
// oxlint-disable-next-line no-eval -- a class keeps the text that it was evaluated from
const evaluated = (code: string): unknown => (0, eval)(code);

test.each<[unknown, string]>([
  [null, 'the options must be an object, not null'],
  ['x', 'the options must be an object, not "x"'],
  [7, 'the options must be an object, not 7'],
  [{ name: 7 }, 'option "name" must be a string, not 7'],
  [{ nam: 'user 7' }, 'unknown option "nam"; the options are: name'],
])('Tabs cannot share a connection with wrong options: %p', (options, text) => {
  expect(() => shareAcrossTabs(options as { name: string })).toThrow(
    new ConfigurationError(`shareAcrossTabs: ${text}`),
  );
});

describe('A subscription', () => {
  test('made together with others goes with them in one request that opens the stream', async () => {
    await using harness = await Harness.start({ headers: { authorization: 'Bearer 1' } });
    const { client, gateway } = harness;
    expect(client.status).toEqual({ state: 'idle' });
    const all = ['a', 'b', 'c'].map((channel) => client.subscribe(channel, () => {}));
    const stream = await gateway.streams.next();
    expect(stream.request).toMatchObject({
      method: 'POST',
      path: '/messages',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization: 'Bearer 1' },
      body: { channels: [{ channel: 'a' }, { channel: 'b' }, { channel: 'c' }] },
    });
    stream.ready();
    expect((await Promise.all(all)).map(({ channel, closed }) => [channel, closed])).toEqual([
      ['a', false],
      ['b', false],
      ['c', false],
    ]);
    expect(gateway.requests).toHaveLength(1);
    expect(await harness.statuses.take(2)).toEqual([{ state: 'connecting' }, { state: 'open' }]);
  });

  test('is ready once the server has confirmed it; messages that come earlier are delivered at once', async () => {
    await using harness = await Harness.start();
    const messages = new Queue<unknown>();
    let isThere = false;
    const subscription = harness.client.subscribe('news', messages.push).then(() => (isThere = true));
    const stream = await harness.gateway.streams.next();
    stream.open();
    stream.message({ channel: 'news', data: 'early' });
    expect(await messages.next()).toBe('early');
    await soon();
    expect(isThere).toBe(false);
    expect(harness.client.status.state).toBe('connecting');
    stream.ready();
    await subscription;
  });

  test('gets instances of its class, with their context', async () => {
    await using harness = await Harness.start({ types: [User] });
    const heard = new Queue<[ChatMessage, ClientMessageContext]>();
    const subscribed = harness.client.subscribe(Rooms.for({ roomId: 7 }), (message, context) =>
      heard.push([message, context]),
    );
    const stream = await harness.gateway.ready();
    await subscribed;
    stream.message({
      channel: 'rooms/7',
      type: 'ChatMessage',
      data: { text: 'hi', by: { id: 1 } },
      meta: { by: '@client-test-user' },
      at: 5,
    });
    const [message, context] = await heard.next();
    expect(message).toBeInstanceOf(ChatMessage);
    expect(message).toEqual(
      Object.assign(Object.create(ChatMessage.prototype) as object, { text: 'hi', by: new User(1, undefined!) }),
    );
    expect(context).toEqual({
      channel: 'rooms/7',
      params: { roomId: '7' },
      type: 'ChatMessage',
      postedAt: 5,
      replayed: false,
    });
  });

  test('reports a class whose name a minifier may have made, once, before any of its messages comes', async () => {
    const classes = '[class Qr{}, class t extends Object{constructor(a){super()}}, class{}]';
    const [Qr, t, Nameless] = evaluated(classes) as [Class, Class, Class];
    @Serializable({ name: 'Tx' })
    class Tx {}
    await using harness = await Harness.start({ types: [Qr] });
    expect(await harness.errors.next()).toEqual({ error: fault('Qr'), context: {} });
    const Minified = defineChannel('minified', t);
    for (const channel of [Minified, Minified, defineChannel('in-types', Qr), defineChannel('named', Tx), Rooms])
      void harness.client.subscribe(channel as typeof Minified, () => {});
    expect(harness.errors.pending).toEqual([{ error: fault('t'), context: { channel: 'minified' } }]);
    void harness.client.subscribe(defineChannel('nameless', Nameless), () => {});
    expect(harness.errors.pending.slice(1)).toEqual([{ error: fault(''), context: { channel: 'nameless' } }]);
    await harness.gateway.ready();
  });

  test('does not report a short name that comes from the source code', async () => {
    const kept = `(() => {
      const n = (value, name) => Object.defineProperty(value, 'name', { value: name, configurable: true });
      class t{static{n(this,"Id")}}
      const e = class{static{n(this,"Up")}};
      class a extends Object{}
      return [t, e, n(a,"Is")];
    })()`;
    const types = [class Ok {}, class e extends Object {}, ...(evaluated(kept) as Class[])];
    expect(types.map(({ name }) => name)).toEqual(['Ok', 'e', 'Id', 'Up', 'Is']);
    await using harness = await Harness.start({ types });
    expect(harness.errors.pending).toEqual([]);
  });

  test('to a template gets the messages that come through it only, one to a channel gets the others', async () => {
    await using harness = await Harness.start();
    const heard = new Queue<[string, unknown, unknown]>();
    const all = [
      harness.client.subscribe(Rooms, ({ text }, { params }) => heard.push(['all', text, params])),
      harness.client.subscribe('rooms/:id', (text, { params }) => heard.push(['named', text, params])),
      harness.client.subscribe('rooms/7', (message, { params }) => heard.push(['seven', message, params])),
    ];
    const stream = await harness.gateway.ready();
    await Promise.all(all);
    stream.message({ channel: 'rooms/7', template: 'rooms/:roomId', type: 'ChatMessage', data: { text: '1' } });
    stream.message({ channel: 'rooms/7', template: 'rooms/:id', data: '2' });
    stream.message({ channel: 'rooms/7', data: '3' });
    stream.message({ channel: 'rooms/8', data: 'for nobody' });
    await harness.settled(stream);
    expect(heard.pending).toEqual([
      ['all', '1', { roomId: '7' }],
      ['named', '2', { id: '7' }],
      ['seven', '3', {}],
    ]);
  });

  test('to a channel of a class gets only its instances; anything else is an error that names the channel', async () => {
    await using harness = await Harness.start();
    const heard = new Queue<ChatMessage>();
    const streamed = harness.client.createStream(Rooms.for({ roomId: 7 }))[Symbol.asyncIterator]();
    const first = streamed.next();
    void harness.client.subscribe(Rooms.for({ roomId: 7 }), heard.push);
    const stream = await harness.gateway.ready();
    const frame = { channel: 'rooms/7', data: { text: '1' } };
    for (const type of [undefined, 'client-test-user', 't']) stream.message({ ...frame, ...(type && { type }) });
    stream.message({ ...frame, type: 'ChatMessage' });
    expect(await heard.next()).toBeInstanceOf(ChatMessage);
    expect(await first).toEqual({ done: false, value: new ChatMessage('1') });
    expect(heard.pending).toEqual([]);
    // One for the listener and one for the stream; an unreadable event is reported once.
    const errors = await harness.errors.take(5);
    expect(errors.map(({ context }) => context)).toEqual(Array.from({ length: 5 }, () => ({ channel: 'rooms/7' })));
    expect(errors.map(({ error }) => error.message)).toEqual([
      ...Array<string>(2).fill('it is plain, no ChatMessage'),
      ...Array<string>(2).fill('it is client-test-user, no ChatMessage'),
      expect.stringContaining('"t" is not known here'),
    ]);
    await streamed.return?.();
  });

  test('to a source names the source by its class and key', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const heard = new Queue<[ChatMessage, unknown]>();
    const listener = (message: ChatMessage, { params }: ClientMessageContext) => heard.push([message, params]);
    const all = [
      client.subscribe(new ChatServer('lob by'), ChatMessage, listener),
      client.subscribe(sourceRef('ChatServer', 'x'), ChatMessage, listener),
      client.subscribe(ChatServer, ChatMessage, listener),
    ];
    const stream = await gateway.streams.next();
    const name = 'messaging:from/ChatServer/lob%20by/ChatMessage';
    const template = 'messaging:from/ChatServer/:key/ChatMessage';
    expect(stream.wanted).toEqual([name, 'messaging:from/ChatServer/x/ChatMessage', template]);
    stream.ready();
    await Promise.all(all);
    stream.message({ channel: name, type: 'ChatMessage', data: { text: '1' } });
    stream.message({ channel: name, template, type: 'ChatMessage', data: { text: '2' } });
    expect(await heard.take(2)).toEqual([
      [expect.objectContaining({ text: '1' }), { key: 'lob by' }],
      [expect.objectContaining({ text: '2' }), { key: 'lob by' }],
    ]);
    const server = sourceRef('ChatServer', 'lob by');
    await Promise.all([client.unsubscribe(server, ChatMessage, listener), client.unsubscribe(ChatServer, ChatMessage)]);
    expect((await gateway.answered()).request.body.unsubscribe).toEqual([name, template]);
  });

  test('to a subscribed channel costs the server nothing, and is ready at once', async () => {
    await using harness = await Harness.start();
    const { messages, stream } = await harness.subscribed();
    const second = new Queue<unknown>();
    await harness.client.subscribe('news', second.push);
    stream.message({ channel: 'news', data: 1 });
    expect([await messages.next(), await second.next()]).toEqual([1, 1]);
    expect(harness.gateway.requests).toHaveLength(1);
  });

  test('with the same function twice is called twice', async () => {
    await using harness = await Harness.start();
    const { messages, stream } = await harness.subscribed();
    const again = await harness.client.subscribe('news', messages.push);
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.take(2)).toEqual([1, 1]);
    await again.unsubscribe();
    stream.message({ channel: 'news', data: 2 });
    stream.message({ channel: 'news', data: 3 });
    expect(await messages.take(2)).toEqual([2, 3]);
  });
});

describe('Changes', () => {
  test('made together go in one request, and the next one waits for its answer', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { subscription } = await harness.subscribed();
    const first = [client.subscribe('a', () => {}), client.subscribe('b', () => {})];
    await subscription.unsubscribe();
    const change = await gateway.changes.next();
    expect(change.request).toMatchObject({
      path: '/messages/c1/channels',
      headers: { 'content-type': 'application/json' },
      body: { subscribe: [{ channel: 'a' }, { channel: 'b' }], unsubscribe: ['news'] },
    });
    const later = client.subscribe('c', () => {});
    await client.unsubscribe('a');
    await soon();
    expect(gateway.changes.pending).toEqual([]);
    change.answer();
    await Promise.all(first);
    const next = await gateway.changes.next();
    expect(next.request.body).toEqual({ subscribe: [{ channel: 'c' }], unsubscribe: ['a'] });
    next.answer();
    expect((await later).closed).toBe(false);
  });

  test('wait until the stream is ready', async () => {
    await using harness = await Harness.start();
    const early = harness.client.subscribe('a', () => {});
    const stream = await harness.gateway.streams.next();
    const late = harness.client.subscribe('b', () => {});
    await harness.client.unsubscribe('a');
    expect((await early).closed).toBe(true);
    await soon();
    stream.ready({ connection: 'x/y?' });
    const change = await harness.gateway.answered();
    expect(change.request).toMatchObject({
      path: '/messages/x%2Fy%3F/channels',
      body: { subscribe: [{ channel: 'b' }], unsubscribe: ['a'] },
    });
    await late;
  });

  test('that cancel each other before there is a connection need no connection', async () => {
    await using harness = await Harness.start();
    const pending = harness.client.subscribe('news', () => {});
    await harness.client.unsubscribe('news');
    expect((await pending).closed).toBe(true);
    await soon();
    expect([harness.statuses.pending, harness.client.status]).toEqual([[], { state: 'idle' }]);
  });

  test('back and forth within one turn need no request', async () => {
    await using harness = await Harness.start();
    const { subscription } = await harness.subscribed();
    void subscription.unsubscribe();
    const again = await harness.client.subscribe('news', () => {});
    expect(again.closed).toBe(false);
    const marker = harness.client.subscribe('marker', () => {});
    expect((await harness.gateway.answered()).request.body).toEqual({
      subscribe: [{ channel: 'marker' }],
      unsubscribe: [],
    });
    await marker;
  });

  test('back and forth during another change end correctly', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { subscription } = await harness.subscribed();
    await subscription.unsubscribe();
    const leaving = await gateway.changes.next();
    let isThere = false;
    const again = client.subscribe('news', () => {}).then(() => (isThere = true));
    await soon();
    expect(isThere).toBe(false);
    leaving.answer();
    const returning = await gateway.changes.next();
    expect(returning.request.body).toEqual({ subscribe: [{ channel: 'news' }], unsubscribe: [] });
    await client.unsubscribe('news');
    const third = client.subscribe('news', () => {});
    await client.unsubscribe('news');
    await third;
    await soon();
    returning.answer();
    await again;
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: ['news'] });
  });

  test('go to a gateway whose URL has a query, a fragment or a slash at its end', async () => {
    await using harness = await Harness.start();
    for (const [suffix, path] of [
      ['/?tenant=1', '/messages/c1/channels?tenant=1'],
      ['/', '/messages/c1/channels'],
      ['/?tenant=1#top', '/messages/c1/channels?tenant=1'],
      ['#top', '/messages/c1/channels'],
    ] as const) {
      using client = new MessagingClient({ url: harness.gateway.url + suffix });
      const first = client.subscribe('a', () => {});
      await harness.gateway.ready();
      await first;
      const second = client.subscribe('b', () => {});
      expect((await harness.gateway.answered()).request.path).toBe(path);
      await second;
    }
  });
});

describe('A channel that is refused', () => {
  test.each([
    ['CHANNEL_DENIED', ChannelDeniedError],
    ['INVALID_CHANNEL', InvalidChannelError],
    ['LIMIT_EXCEEDED', LimitExceededError],
  ] as const)('as %s rejects, and the others continue', async (code, type) => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const messages = new Queue<unknown>();
    const refused = client.subscribe('secret', () => {});
    const fine = client.subscribe('news', messages.push);
    const stream = await gateway.ready({ denied: { secret: code } });
    await expect(refused).rejects.toThrow(type);
    await expect(refused).rejects.toThrow('"secret"');
    await fine;
    const again = client.subscribe('secret', () => {});
    const change = await gateway.answered({ secret: code });
    expect(change.request.body).toEqual({ subscribe: [{ channel: 'secret' }], unsubscribe: [] });
    await expect(again).rejects.toThrow(type);
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.next()).toBe(1);
    expect(harness.errors.pending).toEqual([]);
    const marker = client.subscribe('marker', () => {});
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [{ channel: 'marker' }], unsubscribe: [] });
    await marker;
  });

  test('later, on the open stream, ends its subscriptions, and the others continue', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { stream, messages } = await harness.subscribed();
    const failures = new Queue<unknown>();
    client.createStream('secret').subscribe({ error: failures.push });
    await gateway.answered();
    const listening = client.subscribe('secret', () => {});
    const subscription = await listening;
    stream.event('messaging:withdrawn', { channels: ['secret', 'unknown'], reason: 'revoked' });
    expect(await failures.next()).toBeInstanceOf(ChannelDeniedError);
    expect(subscription.closed).toBe(true);
    expect((await harness.errors.next()).context).toEqual({ channel: 'secret' });
    stream.message({ channel: 'secret', data: 'nobody hears it' });
    stream.message({ channel: 'news', data: 'still here' });
    expect(await messages.next()).toBe('still here');
    // A client may subscribe to it again, and it begins again.
    const again = client.subscribe('secret', () => {});
    const change = await gateway.answered();
    expect(change.request.body.subscribe).toEqual([{ channel: 'secret' }]);
    await again;
    expect(harness.errors.pending).toEqual([]);
  });

  test('while it is being requested is requested again by a later subscription', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { stream } = await harness.subscribed();
    const refused = client.subscribe('secret', () => {});
    const change = await gateway.changes.next();
    stream.event('messaging:withdrawn', { channels: ['secret'], reason: 'ended' });
    await expect(refused).rejects.toThrow(ChannelDeniedError);
    const again = client.subscribe('secret', () => {});
    await soon();
    change.answer({ secret: 'CHANNEL_DENIED' });
    await expect(again).rejects.toThrow(ChannelDeniedError);
    const last = client.subscribe('secret', () => {});
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [{ channel: 'secret' }], unsubscribe: [] });
    await last;
  });

  test('while it is being requested is left again if the server adds it afterwards', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { stream } = await harness.subscribed();
    const refused = client.subscribe('secret', () => {});
    const change = await gateway.changes.next();
    stream.event('messaging:withdrawn', { channels: ['secret'], reason: 'ended' });
    await expect(refused).rejects.toThrow(ChannelDeniedError);
    change.answer();
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: ['secret'] });
  });

  test('with a code of a later version is denied', async () => {
    await using harness = await Harness.start();
    const refused = harness.client.subscribe('secret', () => {});
    await harness.gateway.ready({ denied: { secret: 'TOMORROW' as 'CHANNEL_DENIED' } });
    await expect(refused).rejects.toThrow(ChannelDeniedError);
  });
});

describe('Wrong arguments', () => {
  test.each([
    ['no channel', ['', () => {}], InvalidChannelError],
    ['a reserved name', ['messaging:x', () => {}], InvalidChannelError],
    ['no listener', ['news'], MessagingError],
    ['no source', [7, ChatMessage, () => {}], ConfigurationError],
    ['a source without a key', [new ChatMessage('x'), ChatMessage, () => {}], ConfigurationError],
    ['no class', [new ChatServer('x'), 'ChatMessage', () => {}], ConfigurationError],
    ['no listener of a source', [new ChatServer('x'), ChatMessage], MessagingError],
  ])('reject: %s', async (_, args, type) => {
    using client = new MessagingClient({ url: 'http://127.0.0.1:9/' });
    await expect((client.subscribe as (...all: unknown[]) => Promise<unknown>)(...args)).rejects.toThrow(type);
    expect(client.status.state).toBe('idle');
  });

  test('reject two classes with one name', async () => {
    using client = new MessagingClient({ url: 'http://127.0.0.1:9/', types: [ChatMessage] });
    const Other = Object.defineProperty(class {}, 'name', { value: 'ChatMessage' });
    await expect(client.subscribe(new ChatServer('x'), Other, () => {})).rejects.toThrow(ConfigurationError);
    expect(() => new MessagingClient({ url: 'http://127.0.0.1:9/', types: [ChatMessage, Other] })).toThrow(
      ConfigurationError,
    );
  });

  test.each([
    [undefined, 'MessagingClient: the options must be an object, not undefined'],
    [{ headers: 5 }, 'option "headers" must be headers or a function that returns them, not 5'],
    [{ headers: null }, 'option "headers" must be headers or a function that returns them, not null'],
    [{ credentials: 'yes' }, `option "credentials" must be one of "omit", "same-origin", "include", not "yes"`],
    [{ fetch: 5 }, 'option "fetch" must be a function, not 5'],
    [{ types: 5 }, 'option "types" must be an array of classes, not 5'],
    [{ types: [ChatMessage, 7] }, 'MessagingClient: types[1] must be a class, not 7'],
    [{ types: [undefined] }, 'MessagingClient: types[0] must be a class, not undefined'],
    [{ identityMap: [1] }, 'option "identityMap" must be an IdentityMap, not an array'],
    [{ identityMap: new Map() }, 'option "identityMap" must be an IdentityMap, not an instance of Map'],
    [{ link: {} }, 'option "link" must be a function, not an object'],
    [{ onError: true }, 'option "onError" must be a function, not true'],
    [{ link: () => undefined }, 'option "link" returns no link'],
    [{ link: () => ({}) }, 'option "link" returns no link'],
    [
      { header: {} },
      'MessagingClient: unknown option "header"; the options are: url, headers, credentials, fetch, types, identityMap, link, onError',
    ],
    [{ clock: {} }, 'MessagingClient: unknown option "clock"'],
  ])('make no client: options %j', (options, message) => {
    const given = (options && { url: '/messages', ...options }) as MessagingClientOptions;
    const make = () => new MessagingClient(given);
    expect(make).toThrow(ConfigurationError);
    expect(make).toThrow(message);
  });

  test.each([
    [{ replay: 'first' }, 'option "replay" must be a whole number of at least 1'],
    [{ replai: 5 }, 'unknown option "replai"; the options are: signal, replay'],
    [{ signal: 5 }, 'option "signal" must be an AbortSignal, not 5'],
    [5, 'the options must be an object, not 5'],
  ])('subscribe nobody: options %j', async (options, message) => {
    using client = new MessagingClient({ url: 'http://127.0.0.1:9/' });
    const given = options as object;
    await expect(client.subscribe('news', () => {}, given)).rejects.toThrow(`subscribe: ${message}`);
    expect(() => client.listen('news', () => {}, given)).toThrow(`listen: ${message}`);
    expect(client.status).toEqual({ state: 'idle' });
  });

  test('make no stream', () => {
    using client = new MessagingClient({ url: 'http://127.0.0.1:9/' });
    expect(() => client.createStream('news', { overflow: 'block' as 'error' })).toThrow(
      `createStream: option "overflow" must be one of "error", "dropOldest", not "block"`,
    );
    expect(() => client.createStream('news', { signal: undefined } as object)).toThrow(
      'createStream: unknown option "signal"; the options are: maxBuffered, overflow, replay',
    );
  });

  test.each([['onStatus'], ['onGap']] as const)('throw at %s', (method) => {
    using client = new MessagingClient({ url: 'http://127.0.0.1:9/' });
    expect(() => client[method](undefined!)).toThrow(expect.objectContaining({ code: 'INVALID_LISTENER' }));
  });
});

describe('The option "url"', () => {
  test.each([
    ['/messages'],
    [''],
    [undefined],
    ['localhost:3000/messages'],
    ['http://'],
    ['http://ada:pass@127.0.0.1:9/'],
    [{}],
  ])('is checked when the client connects, and closes it if it is not a URL: %p', async (url) => {
    const statuses = new Queue<unknown>();
    const client = new MessagingClient({ url: url as string });
    client.onStatus(statuses.push);
    expect(client.status).toEqual({ state: 'idle' });
    const other = client.subscribe('other', () => {}).catch((error: unknown) => error);
    const error: unknown = await client.subscribe('news', () => {}).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(await other).toBe(error);
    expect(error).toHaveProperty('message', expect.stringContaining('option "url"'));
    expect(statuses.pending).toEqual([{ state: 'connecting' }, { state: 'closed', reason: 'misconfigured', error }]);
  });

  test('may be a path if the option "fetch" can handle it', async () => {
    const asked = new Queue<unknown>();
    using client = new MessagingClient({
      url: '/messages',
      fetch: async (address) => {
        asked.push(address);
        return new Promise(() => {});
      },
    });
    client.subscribe('news', () => {}).catch(() => {});
    expect(await asked.next()).toBe('/messages');
  });

  test('may be a URL object', async () => {
    await using harness = await Harness.start();
    using client = new MessagingClient({ url: new URL('?tenant=1', harness.gateway.url) });
    const first = client.subscribe('a', () => {});
    expect((await harness.gateway.ready()).request.path).toBe('/messages?tenant=1');
    await first;
  });

  test('needs no page, and the client holds nothing, before there is a subscription', () => {
    const { BroadcastChannel: original } = globalThis;
    const navigator = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
    const made = new Queue<unknown>();
    globalThis.BroadcastChannel = function make(name: string) {
      made.push(name);
    } as unknown as typeof BroadcastChannel;
    Object.defineProperty(globalThis, 'navigator', {
      value: { locks: { request: async () => made.push('lock') } },
      configurable: true,
    });
    try {
      const client = new MessagingClient({ url: '/messages', link: shareAcrossTabs() });
      expect(client.status).toEqual({ state: 'idle' });
      client.close();
      expect([client.status.state, made.pending]).toEqual(['closed', []]);
    } finally {
      globalThis.BroadcastChannel = original;
      if (navigator) Object.defineProperty(globalThis, 'navigator', navigator);
      else Reflect.deleteProperty(globalThis, 'navigator');
    }
  });
});

describe('A signal', () => {
  test('that was aborted before rejects with its reason, and nothing is requested', async () => {
    await using harness = await Harness.start();
    const reason = new Error('left');
    await expect(harness.client.subscribe('news', () => {}, { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    await soon();
    expect(harness.client.status.state).toBe('idle');
  });

  test('ends a subscription that the server has not confirmed, and rejects with its reason', async () => {
    await using harness = await Harness.start();
    const controller = new AbortController();
    const reason = new Error('left');
    const pending = harness.client.subscribe('news', () => {}, { signal: controller.signal });
    const other = harness.client.subscribe('other', () => {});
    const stream = await harness.gateway.streams.next();
    controller.abort(reason);
    await expect(pending).rejects.toBe(reason);
    stream.ready();
    await other;
    expect((await harness.gateway.answered()).request.body.unsubscribe).toEqual(['news']);
  });

  test('ends a ready subscription, and is released with it', async () => {
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    const controller = new AbortController();
    const removed = new Queue<string>();
    const remove = controller.signal.removeEventListener.bind(controller.signal);
    controller.signal.removeEventListener = (type: string, listener: EventListener) => {
      removed.push(type);
      remove(type, listener);
    };
    const messages = new Queue<unknown>();
    const first = await harness.client.subscribe('news', messages.push, { signal: controller.signal });
    const second = await harness.client.subscribe('news', messages.push, { signal: controller.signal });
    await first.unsubscribe();
    expect(removed.pending).toEqual(['abort']);
    controller.abort();
    expect(second.closed).toBe(true);
    stream.message({ channel: 'news', data: 1 });
    await harness.settled(stream);
    expect(messages.pending).toEqual([]);
  });
});

// Jest fails a test in which one is unhandled.
describe('No rejection is unhandled', () => {
  test.each([
    ['before', (abort: () => void) => abort(), () => {}],
    ['before the server has confirmed', () => {}, (abort: () => void) => abort()],
    ['by a client that is closed', () => {}, (_: unknown, client: MessagingClient) => client.close()],
    ['by a client that was closed', (_: unknown, client: MessagingClient) => client.close(), () => {}],
  ])('when a subscription is ended here %s, but its caller learns of it', async (_, before, after) => {
    await using harness = await Harness.start();
    const controller = new AbortController();
    const abort = () => controller.abort();
    before(abort, harness.client);
    const { signal } = controller;
    void harness.client.subscribe('news', () => {}, { signal });
    const awaited = harness.client.subscribe('news', () => {}, { signal }).catch((error: unknown) => error);
    after(abort, harness.client);
    expect(await awaited).toHaveProperty('name', expect.stringMatching(/^(AbortError|ConnectionClosedError)$/));
    await soon();
    await soon();
  });

  test('when a signal ends a ready subscription', async () => {
    await using harness = await Harness.start();
    await harness.subscribed();
    const controller = new AbortController();
    const { closed } = await harness.client.subscribe('news', () => {}, { signal: controller.signal });
    controller.abort();
    harness.client.close();
    await soon();
    expect(closed).toBe(false);
  });
});

describe('A handle of listen', () => {
  test('exists at once, and its ready is the subscription once the server has confirmed it', async () => {
    await using harness = await Harness.start();
    const messages = new Queue<unknown>();
    const handle = harness.client.listen(defineChannel('users', User), messages.push);
    expect([handle.channel, handle.closed]).toEqual(['users', false]);
    const stream = await harness.gateway.ready();
    expect(await handle.ready).toMatchObject({ channel: 'users', closed: false });
    stream.message({ channel: 'users', type: 'client-test-user', data: { id: 1, name: 'a' } });
    expect(await messages.next()).toEqual(new User(1, 'a'));
    handle.unsubscribe();
    handle.unsubscribe();
    expect((await harness.gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: ['users'] });
    expect([handle.closed, (await handle.ready).closed]).toEqual([true, true]);
  });

  test('accepts a source, a replay and a signal as subscribe does', async () => {
    await using harness = await Harness.start();
    const controller = new AbortController();
    const options = { replay: 5, signal: controller.signal };
    const handle = harness.client.listen(sourceRef('ChatServer', 'x'), ChatMessage, () => {}, options);
    const channel = 'messaging:from/ChatServer/x/ChatMessage';
    const { request } = await harness.gateway.streams.next();
    expect(request.body.channels).toEqual([{ channel }, { channel, replay: 5, listener: expect.any(String) }]);
    controller.abort(new Error('left'));
    await expect(handle.ready).rejects.toThrow('left');
    expect(handle.closed).toBe(true);
  });

  test('that is ended before it is ready resolves with a closed subscription, and nothing is requested', async () => {
    await using harness = await Harness.start();
    const handle = harness.client.listen('news', () => {});
    {
      using again = harness.client.listen('news', () => {});
      void again;
    }
    handle.unsubscribe();
    handle.unsubscribe();
    expect(await handle.ready).toMatchObject({ channel: 'news', closed: true });
    await soon();
    expect([harness.client.status.state, harness.gateway.requests]).toEqual(['idle', []]);
  });

  // Jest fails a test in which a rejection is unhandled.
  test.each([
    ['refused', { denied: { news: 'CHANNEL_DENIED' } } as const, {}, ChannelDeniedError],
    ['of a client that cannot connect', {}, { url: '' }, ConfigurationError],
  ])('that is %s calls onError once, and rejects ready for its users', async (_, answer, options, type) => {
    await using harness = await Harness.start(options);
    void harness.client.listen('news', () => {});
    const { error, context } = await (async () => {
      if (!('url' in options)) await harness.gateway.ready(answer);
      return harness.errors.next();
    })();
    expect([error, context]).toEqual([expect.any(type), { channel: 'news' }]);
    if (!('url' in options)) return;
    const late = harness.client.listen('news', () => {});
    await expect(late.ready).rejects.toBe(error);
    expect([late.closed, harness.errors.pending]).toEqual([true, [{ error, context }]]);
  });

  test('whose channel is refused later calls onError once', async () => {
    await using harness = await Harness.start();
    const handle = harness.client.listen('news', () => {});
    const stream = await harness.gateway.ready();
    await handle.ready;
    stream.event('messaging:withdrawn', { channels: ['news'], reason: 'denied' });
    expect((await harness.errors.next()).error).toBeInstanceOf(ChannelDeniedError);
    expect([handle.closed, harness.errors.pending]).toEqual([true, []]);
  });

  test.each([
    ['by its signal, before', (abort: () => void) => abort(), () => {}],
    ['by its signal', () => {}, (abort: () => void) => abort()],
    ['by its client', () => {}, (_: unknown, client: MessagingClient) => client.close()],
    ['by its client, before', (_: unknown, client: MessagingClient) => client.close(), () => {}],
  ])('that is ended here %s, rejects only its ready', async (_, before, after) => {
    await using harness = await Harness.start();
    const controller = new AbortController();
    const abort = () => controller.abort();
    before(abort, harness.client);
    const { signal } = controller;
    void harness.client.listen('news', () => {}, { signal });
    const handle = harness.client.listen('news', () => {}, { signal });
    after(abort, harness.client);
    expect(handle.closed).toBe(true);
    const awaited = await handle.ready.catch((error: unknown) => error);
    expect(awaited).toHaveProperty('name', expect.stringMatching(/^(AbortError|ConnectionClosedError)$/));
    await soon();
    expect(harness.errors.pending).toEqual([]);
  });

  test('does not exist for wrong arguments: the call throws', async () => {
    await using harness = await Harness.start();
    const { client } = harness;
    expect(() => client.listen('', () => {})).toThrow(InvalidChannelError);
    expect(() => client.listen('news', undefined!)).toThrow('A listener is a function, not undefined');
    expect(() => client.listen('news', () => {}, { replay: 0 })).toThrow('listen: option "replay" must be');
  });
});

describe('Unsubscribing', () => {
  test('ends one listener, or all listeners and streams', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { messages, stream, subscription } = await harness.subscribed();
    const other = new Queue<unknown>();
    await client.subscribe('news', other.push);
    const loop = client.createStream('news')[Symbol.asyncIterator]();
    await client.unsubscribe('news', () => {});
    await client.unsubscribe('nothing');
    await client.unsubscribe('news', messages.push);
    expect(subscription.closed).toBe(true);
    stream.message({ channel: 'news', data: 1 });
    expect(await other.next()).toBe(1);
    expect(messages.pending).toEqual([]);
    await client.unsubscribe('news');
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: ['news'] });
    expect(await loop.next()).toEqual({ value: 1, done: false });
    expect(await loop.next()).toEqual({ value: undefined, done: true });
  });

  test('works with a handle or a subscription whose method was taken out', async () => {
    await using harness = await Harness.start();
    await harness.subscribed();
    const { unsubscribe, ready } = harness.client.listen('news', () => {});
    unsubscribe();
    expect((await ready).closed).toBe(true);
    const subscription = await harness.client.subscribe('news', () => {});
    const { unsubscribe: end } = subscription;
    await end();
    expect(subscription.closed).toBe(true);
  });

  test('works with the handle, even as a resource, and more than once', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const { subscription } = await harness.subscribed();
    {
      using first = await client.subscribe('news', () => {});
      await using second = await client.subscribe('news', () => {});
      expect([first.closed, second.closed]).toEqual([false, false]);
    }
    await subscription.unsubscribe();
    await subscription.unsubscribe();
    subscription[Symbol.dispose]();
    expect(subscription.closed).toBe(true);
    expect((await gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: ['news'] });
  });
});

describe('Listeners', () => {
  test('that throw or reject do not disturb others', async () => {
    await using harness = await Harness.start();
    const { messages, stream } = await harness.subscribed('first');
    const [thrown, rejected] = [new Error('thrown'), new Error('rejected')];
    const all = Promise.all([
      harness.client.subscribe('news', () => {
        throw thrown;
      }),
      harness.client.subscribe('news', () => Promise.reject(rejected)),
      harness.client.subscribe('news', messages.push),
    ]);
    await harness.gateway.answered();
    await all;
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.next()).toBe(1);
    expect(await harness.errors.take(2)).toEqual([
      { error: thrown, context: { channel: 'news' } },
      { error: rejected, context: { channel: 'news' } },
    ]);
  });

  test('may subscribe and unsubscribe while they are called', async () => {
    await using harness = await Harness.start();
    const { client } = harness;
    const heard = new Queue<string>();
    const late = (message: unknown) => heard.push(`late ${String(message)}`);
    const next = (message: unknown) => heard.push(`next ${String(message)}`);
    const all = [
      client.subscribe('news', (message) => {
        heard.push(`first ${String(message)}`);
        void client.unsubscribe('news', next);
        void client.subscribe('news', late);
      }),
      client.subscribe('news', next),
    ];
    const stream = await harness.gateway.ready();
    await Promise.all(all);
    stream.message({ channel: 'news', data: 1 });
    stream.message({ channel: 'news', data: 2 });
    expect(await heard.take(3)).toEqual(['first 1', 'first 2', 'late 2']);
  });

  test('are not called after one of them has closed the client', async () => {
    await using harness = await Harness.start();
    const heard = new Queue<unknown>();
    const all = [
      harness.client.subscribe('news', (message) => {
        heard.push(message);
        harness.client.close();
      }),
      harness.client.subscribe('news', heard.push),
    ];
    const stream = await harness.gateway.ready();
    await Promise.all(all);
    stream.write('data: {"channel":"news","at":1,"data":1}\n\ndata: {"channel":"news","at":1,"data":2}\n\n');
    await stream.closed;
    expect(heard.pending).toEqual([1]);
  });

  test('of gaps are not called after one of them has closed the client', async () => {
    await using harness = await Harness.start();
    const { client } = harness;
    const gaps = new Queue<unknown>();
    client.onGap((gap) => {
      gaps.push(gap);
      client.close();
    });
    client.onGap(gaps.push);
    const { stream } = await harness.subscribed();
    stream.event('messaging:gap', { channel: 'news', reason: 'trimmed' });
    await harness.reaches('closed');
    expect(gaps.pending).toHaveLength(1);
  });

  test('of the status and of gaps are isolated as well, and can be removed', async () => {
    await using harness = await Harness.start();
    const { client } = harness;
    const failure = new Error('status');
    const stop = client.onStatus(() => Promise.reject(failure));
    const gaps = new Queue<unknown>();
    client.onGap(() => {
      throw failure;
    });
    client.onGap(gaps.push);
    const { stream } = await harness.subscribed();
    expect((await harness.errors.take(2)).map(({ error }) => error)).toEqual([failure, failure]);
    const statuses = new Queue<unknown>();
    client.onStatus(statuses.push);
    client.onStatus(statuses.push)();
    stop();
    const gap = { channel: 'news', reason: 'trimmed' };
    stream.event('messaging:gap', gap, 'id: 1\n');
    expect(await gaps.next()).toEqual({ ...gap, position: { epoch: 'e', offset: 1 } });
    expect((await harness.errors.next()).error).toBe(failure);
    stream.write('event: messaging:gap\ndata: {\n\nevent: messaging:gap\ndata: null\n\n');
    stream.event('messaging:gap', { reason: 'broker' });
    for (const { error } of await harness.errors.take(3)) expect(error).toBeInstanceOf(InvalidMessageError);
    expect(gaps.pending).toEqual([]);
    stream.cut();
    await harness.reaches('waiting');
    expect(harness.errors.pending).toEqual([]);
    expect(statuses.pending).toEqual([client.status]);
  });

  test('of the status that close the client leave no other listener with an earlier status', async () => {
    await using harness = await Harness.start();
    const { client } = harness;
    const told = new Queue<string>();
    const listener = (name: string) => (status: ClientStatus) => told.push(`${name} ${status.state}`);
    client.onStatus((status) => status.state === 'open' && client.close());
    client.onStatus(listener('first'));
    const stop = client.onStatus(({ state }) => {
      if (state === 'open') stopLast();
    });
    const stopLast = client.onStatus(listener('last'));
    const subscribed = client.subscribe('news', () => {}).catch(() => {});
    await harness.gateway.ready();
    await subscribed;
    expect(client.status.state).toBe('closed');
    expect(told.pending).toEqual(['first connecting', 'last connecting', 'first open', 'first closed']);
    stop();
  });

  test('that are added while others are being called get the next status first', async () => {
    await using harness = await Harness.start();
    const told = new Queue<string>();
    const stop = harness.client.onStatus(() => {
      stop();
      harness.client.onStatus(({ state }) => told.push(state));
    });
    await harness.subscribed();
    expect(await told.next()).toBe('open');
  });

  test.each([['gap'], ['message'], ['error'], ['headers']])('may close the client within a %s', async (what) => {
    const close = (isDue: boolean) => isDue && harness.client.close();
    await using harness = await Harness.start({
      onError: () => close(what === 'error'),
      headers: () => (close(what === 'headers' && harness.client.status.state === 'connecting'), {}),
    });
    const { client, clock, gateway } = harness;
    client.onGap(() => close(what === 'gap'));
    const settled = Promise.allSettled(
      ['news', 'more'].map((channel) => client.subscribe(channel, () => close(what === 'message'))),
    );
    if (what !== 'headers') {
      const stream = await gateway.ready();
      await settled;
      stream.cut();
      await harness.reaches('waiting');
      clock.advance(250);
      const again = await gateway.streams.next();
      again.open();
      again.message({ channel: 'news' });
      if (what === 'error') again.message({ channel: 'news', type: 'Unheard' });
      again.ready({ lost: { more: 'trimmed' } });
      await again.closed;
    }
    await settled;
    await harness.reaches('closed');
    await soon();
    expect(client.status).toEqual({ state: 'closed', reason: 'close' });
    expect([harness.statuses.pending, clock.pending]).toEqual([[], 0]);
  });

  test('may have an onError that fails', async () => {
    const logged = new Queue<unknown>();
    const { error: original } = console;
    console.error = logged.push;
    try {
      await using harness = await Harness.start({
        onError: (error) => Promise.reject(new Error('onError', { cause: error })),
      });
      const subscribed = harness.client.subscribe('news', () => {
        throw new Error('listener');
      });
      const stream = await harness.gateway.ready();
      await subscribed;
      stream.message({ channel: 'news' });
      expect(await logged.next()).toMatchObject({ message: 'onError', cause: { message: 'listener' } });
    } finally {
      console.error = original;
    }
  });

  test.each<[string, (error: unknown) => void, unknown[]]>([
    ['cannot print the error', (error) => void [(error as Error).message], ['an instance of Error']],
    [
      'always throws',
      () => {
        throw new Error('the console');
      },
      [],
    ],
  ])('that fail do not disturb others if the console %s', async (_, print, expected) => {
    const logged: unknown[] = [];
    const { error: original } = console;
    console.error = (error: unknown) => {
      print(error);
      logged.push(error);
    };
    try {
      for (const onError of [
        undefined,
        () => {
          throw unprintable();
        },
        () => Promise.reject(unprintable()),
      ]) {
        logged.length = 0;
        await using harness = await Harness.start({ onError: onError! });
        const statuses = new Queue<string>();
        harness.client.onStatus(() => {
          throw unprintable();
        });
        harness.client.onStatus(({ state }) => statuses.push(state));
        const failing = harness.client.subscribe('news', () => {
          throw unprintable();
        });
        const { messages, stream } = await harness.subscribed();
        await failing;
        expect(await statuses.take(2)).toEqual(['connecting', 'open']);
        stream.message({ channel: 'news', data: 1 });
        stream.message({ channel: 'news', data: 2 });
        expect(await messages.take(2)).toEqual([1, 2]);
        await soon();
        expect([...new Set(logged)]).toEqual(expected);
      }
    } finally {
      console.error = original;
    }
  });

  test('fail on the console without an onError', async () => {
    const logged = new Queue<unknown>();
    const { error: original } = console;
    console.error = logged.push;
    try {
      await using harness = await Harness.start();
      using client = new MessagingClient({ url: harness.gateway.url });
      const subscribed = client.subscribe('news', () => {
        throw new Error('listener');
      });
      const stream = await harness.gateway.ready();
      await subscribed;
      stream.message({ channel: 'news' });
      expect(await logged.next()).toMatchObject({ message: 'listener' });
    } finally {
      console.error = original;
    }
  });
});

describe('A frame', () => {
  test.each([
    ['is no JSON', 'data: {"channel"\n\n', {}],
    ['is no object', 'data: null\n\n', {}],
    ['has no channel', 'data: {"at":1,"data":1}\n\n', {}],
    ['has no time', 'data: {"channel":"news","data":1}\n\n', { channel: 'news' }],
    ['has no data', 'data: {"channel":"news","at":1}\n\n', { channel: 'news' }],
    ['is of an unknown class', 'data: {"channel":"news","at":1,"type":"Unheard","data":{}}\n\n', { channel: 'news' }],
    ['pollutes', 'data: {"channel":"news","at":1,"data":{"__proto__":{"x":1}}}\n\n', { channel: 'news' }],
  ])('that %s is reported once and disturbs nothing', async (_, bytes, context) => {
    await using harness = await Harness.start();
    const { messages, stream } = await harness.subscribed();
    await harness.client.subscribe('news', () => {});
    stream.write(bytes);
    stream.message({ channel: 'news', data: 1 });
    expect(await messages.next()).toBe(1);
    expect(harness.errors.pending).toEqual([{ error: expect.any(InvalidMessageError), context }]);
  });

  test('of a channel without listeners is not even read', async () => {
    await using harness = await Harness.start();
    const { stream } = await harness.subscribed();
    stream.message({ channel: 'gone', type: 'Unheard', data: {} });
    await harness.settled(stream);
    expect(harness.errors.pending).toEqual([]);
  });
});

test('Long names are requested in portions, because servers accept no large bodies', async () => {
  await using harness = await Harness.start();
  const names = Array.from({ length: 900 }, (_, number) => `long/${String(number).padStart(120, 'x')}`);
  const subscribed = Promise.all(names.map((name) => harness.client.subscribe(name, () => {})));
  const stream = await harness.gateway.ready();
  const asked = [...stream.wanted];
  while (asked.length < names.length) asked.push(...(await harness.gateway.answered()).wanted);
  await subscribed;
  expect(asked).toEqual(names);
  const left = Promise.all(names.map((name) => harness.client.unsubscribe(name)));
  const ended: string[] = [];
  while (ended.length < names.length) ended.push(...(await harness.gateway.answered()).request.body.unsubscribe!);
  await left;
  expect(ended).toEqual(names);
  const sizes = harness.gateway.requests.map(({ body }) => JSON.stringify(body).length);
  expect(Math.max(...sizes)).toBeLessThan(100_000);
});

test('An identity map keeps one live object for each key', async () => {
  await using harness = await Harness.start({ identityMap: new IdentityMap() });
  const users = new Queue<unknown>();
  const subscribed = harness.client.subscribe(defineChannel('users', User), users.push);
  const stream = await harness.gateway.ready();
  await subscribed;
  stream.message({ channel: 'users', type: 'client-test-user', data: { id: 1, name: 'a' } });
  stream.message({ channel: 'users', type: 'client-test-user', data: { id: 1, name: 'b' } });
  const [first, second] = await users.take(2);
  expect(first).toBe(second);
  expect(first).toEqual(new User(1, 'b'));
});

test('A closed client rejects waiting and later calls', async () => {
  await using harness = await Harness.start();
  const pending = harness.client.subscribe('news', () => {});
  const stream = await harness.gateway.streams.next();
  harness.client[Symbol.dispose]();
  harness.client.close();
  await expect(pending).rejects.toThrow(ConnectionClosedError);
  await expect(harness.client.subscribe('news', () => {})).rejects.toThrow(ConnectionClosedError);
  await harness.client.unsubscribe('news');
  await stream.closed;
  expect(harness.client.status).toEqual({ state: 'closed', reason: 'close' });
  expect(harness.statuses.pending.map(({ state }) => state)).toEqual(['connecting', 'closed']);
  expect(harness.clock.pending).toBe(0);
});

describe('A client in a reactive object of Vue', () => {
  const page = readFileSync(new URL('../../../docs/frameworks.md', import.meta.url), 'utf8');

  test('fails as docs/frameworks.md describes, because it has private fields', () => {
    const [, error] = /`(Cannot read private member [^`]+)`/.exec(page)!;
    const store = reactive({ client: new MessagingClient({ url: '/messages' }) });
    expect(() => store.client.status).toThrow(error);
  });

  test('works if it was marked raw when it was made', () => {
    const store = reactive({ client: markRaw(new MessagingClient({ url: '/messages' })) });
    expect(store.client.status).toEqual({ state: 'idle' });
  });
});
