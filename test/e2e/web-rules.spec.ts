import { once } from 'node:events';
import { Controller, Get, Post, VersioningType, type INestApplication } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { get, request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { defineChannel, MessagingModule, Serializable, type GatewayOptions } from 'nestjs-messaging';
import { Hub } from '../../lib/core/hub.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { ADAPTER_NAMES, startApp, type AdapterName, type TestApp } from '../support/apps.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { ReadsUser } from '../support/reads-user.js';

// The gateway with browsers, caches and pages of other sites.

const News = defineChannel<string>('web/news', undefined, { clients: true });

@Controller('rooms/:id/messages')
class Other {
  @Get()
  list() {
    return [];
  }

  @Post()
  add() {
    return 'added';
  }
}

const start = (adapter: AdapterName, gateway: GatewayOptions = {}, configure?: (app: INestApplication) => void) =>
  startApp(
    {
      imports: [MessagingModule.forRoot({ gateway })],
      controllers: [Other],
      providers: [{ provide: APP_GUARD, useClass: ReadsUser }],
    },
    { adapter, ...(configure && { configure }) },
  );

const site = (name: string, origin?: string) => ({ 'sec-fetch-site': name, ...(origin !== undefined && { origin }) });

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The first text of a stream. */
  readonly text: string;
}

/** Asks like a browser, with headers that `fetch` does not let anyone set. */
function ask(url: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const json = body === undefined ? {} : { 'content-type': 'application/json' };
    const method = body === undefined ? 'GET' : 'POST';
    const asked = request(url + path, { method, headers: { ...json, ...headers }, agent: false }, (response) => {
      const { statusCode = 0, headers: received } = response;
      const isStream = received['content-type'] === 'text/event-stream';
      let text = '';
      const end = (): void => {
        resolve({ status: statusCode, headers: received, text });
        asked.destroy();
      };
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        if (isStream) end();
      });
      response.on('end', end);
    });
    asked.on('error', reject).end(body);
  });
}

const BODY = JSON.stringify({ channels: [{ channel: News.name }] });
const GET = `/messages?channel=${News.name}`;

describe.each(ADAPTER_NAMES)('A page that asks the gateway, on %s,', (adapter) => {
  let plain: TestApp;
  let listed: TestApp;
  let byCors: TestApp;
  let forAll: TestApp;
  beforeAll(async () => {
    plain = await start(adapter);
    listed = await start(adapter, { origins: ['https://app.example', 'capacitor://localhost'] });
    byCors = await start(adapter, {}, (app) => app.enableCors({ origin: ['https://app.example'], credentials: true }));
    forAll = await start(adapter, {}, (app) => app.enableCors());
  });
  afterAll(async () => {
    for (const app of [plain, listed, byCors, forAll]) await app[Symbol.asyncDispose]();
  });

  const rows: [string, Record<string, string>, () => TestApp, number][] = [
    ['is no browser', {}, () => plain, 200],
    ['is of the same origin', site('same-origin', 'https://behind.a.proxy'), () => plain, 200],
    ['is opened by the user', site('none'), () => plain, 200],
    [
      'is of the same host, in an old browser',
      { origin: 'http://own.example:80', host: 'own.example' },
      () => plain,
      200,
    ],
    ['is of the same host and port', { origin: 'http://own.example:8080', host: 'OWN.example:8080' }, () => plain, 200],
    ['is of another port', { origin: 'http://own.example:8081', host: 'own.example:8080' }, () => plain, 403],
    ['is of another site', site('cross-site', 'https://evil.example'), () => plain, 403],
    ['is of another site, in an old browser', { origin: 'https://evil.example' }, () => plain, 403],
    ['is of another host of the same site', site('same-site', 'https://blog.own.example'), () => plain, 403],
    [
      'is of the same host, but not of the same origin',
      { ...site('same-site', 'http://own.example'), host: 'own.example' },
      () => plain,
      403,
    ],
    ['is in a sandbox', site('cross-site', 'null'), () => plain, 403],
    ['has the origin null, in an old browser', { origin: 'null' }, () => plain, 403],
    ['hides its origin, and is of another site', site('cross-site'), () => plain, 403],
    [
      'has an origin that looks like the host',
      { origin: 'http://own.example@evil.example', host: 'own.example' },
      () => plain,
      403,
    ],
    ['has an origin from the option', site('cross-site', 'https://app.example'), () => listed, 200],
    ['has the origin of an app from the option', { origin: 'capacitor://localhost' }, () => listed, 200],
    [
      'has an origin that only begins like one from the option',
      site('cross-site', 'https://app.example.evil.example'),
      () => listed,
      403,
    ],
    ['has an origin that CORS allows', site('cross-site', 'https://app.example'), () => byCors, 200],
    ['has an origin that CORS does not allow', site('cross-site', 'https://evil.example'), () => byCors, 403],
    [
      'has any origin, and CORS allows all, which excludes cookies',
      site('cross-site', 'https://any.example'),
      () => forAll,
      200,
    ],
  ];

  test.each(rows)('and %s', async (_, headers, app, status) => {
    const { url } = app();
    const unknown = '/messages/unknown/channels';
    const answers = [
      await ask(url, '/messages', headers, BODY),
      await ask(url, GET, headers),
      await ask(url, unknown, headers, '{}'),
    ];
    expect(answers.map((answer) => answer.status)).toEqual([status, status, status === 200 ? 404 : status]);
    // The origin check comes before everything else in the gateway.
    const refusals = answers.filter(({ text }) => text.includes('A page of this origin may not ask here'));
    expect(refusals).toHaveLength(status === 403 ? answers.length : 0);
  });

  test('is logged once, with advice, and its text is truncated', async () => {
    await using app = await start(adapter);
    for (let count = 0; count < 3; count++) await ask(app.url, GET, site('cross-site', 'https://evil.example'));
    await ask(app.url, GET, { origin: `https://${'x'.repeat(5_000)}` });
    const [first, second, ...others] = app.logger.problems;
    expect(first).toContain('A page of "https://evil.example" asked the gateway');
    expect(first).toContain('gateway: { origins: [...] }');
    expect(second!.length).toBeLessThan(600);
    expect(others).toEqual([]);
  });
});

describe.each(['https://app.example/', 'app.example', 'https://App.example', '*', 'null', 7])(
  'The option origins with %j',
  (origin) => {
    test('is refused', () => {
      const gateway = { origins: [origin] } as GatewayOptions;
      expect(() => MessagingModule.forRoot({ gateway })).toThrow(
        /gateway: origins\[0\] must be an origin as browsers write it/,
      );
    });
  },
);

const TOKEN = 'tok-5e83d1';

describe.each(ADAPTER_NAMES)('An answer of the gateway, on %s,', (adapter) => {
  let app: TestApp;
  beforeAll(async () => {
    app = await start(adapter);
  });
  afterAll(async () => app[Symbol.asyncDispose]());

  const change = `/messages/${TOKEN}/channels`;
  const rows: [string, string, string | undefined, Record<string, string>, number][] = [
    ['a stream', '/messages', BODY, {}, 200],
    ['a native stream', GET, undefined, {}, 200],
    ['a request whose channels are all denied', `/messages?channel=${TOKEN}`, undefined, {}, 403],
    ['a query of the wrong type', `/messages?channel[${TOKEN}]=${TOKEN}`, undefined, {}, 400],
    ['a request without channels', '/messages', undefined, {}, 400],
    ['the end', GET, undefined, { 'last-event-id': 'messaging:end' }, 204],
    ['a guard', GET, undefined, { 'x-banned': 'yes' }, 403],
    ['another site', '/messages', BODY, { origin: 'https://evil.example' }, 403],
    ['an unknown connection', change, '{}', {}, 404],
    ['broken JSON', '/messages', `{"a":${TOKEN}`, {}, 400],
    ['JSON of the wrong type', '/messages', `"${TOKEN}"`, {}, 400],
    ['channels of the wrong type', '/messages', `{"channels":"${TOKEN}"}`, {}, 400],
    ['names of the wrong type', '/messages', `{"channels":["${TOKEN}"]}`, {}, 400],
    ['a replay of the wrong type', '/messages', `{"channels":[{"channel":"a","replay":"${TOKEN}"}]}`, {}, 400],
    [
      'a listener of the wrong type',
      change,
      `{"subscribe":[{"channel":"a","replay":1,"listener":["${TOKEN}"]}]}`,
      {},
      400,
    ],
    ['invalid names to leave', change, `{"unsubscribe":["a",{"${TOKEN}":1}]}`, {}, 400],
    ['another type', '/messages', BODY, { 'content-type': `text/${TOKEN}` }, 415],
    [
      'another charset',
      '/messages',
      BODY,
      { 'content-type': `application/json; charset=${TOKEN}` },
      adapter === 'Express' ? 415 : 200,
    ],
    ['another encoding', '/messages', BODY, { 'content-encoding': TOKEN }, adapter === 'Express' ? 415 : 200],
    ['a long body', '/messages', `{"a":"${TOKEN.repeat(200_000)}"}`, {}, 413],
  ];

  test.each(rows)(
    'to %s is kept by no cache and repeats nothing from the request',
    async (_, path, body, headers, status) => {
      const answer = await ask(app.url, path, headers, body);
      expect(answer.status).toBe(status);
      expect(answer.headers['cache-control']).toMatch(/^private, no-store(, no-transform)?$/);
      // A stream names its channels.
      const told = status >= 400 ? [answer.text, ...Object.values(answer.headers)].join('\n') : '';
      expect(told).not.toMatch(new RegExp(`${TOKEN}|\n\\s+at |node_modules|[A-Z]\\w*(?:Error|Exception)\\b`));
    },
  );

  test.each([
    ['as a whole URL', 'http://app.example/messages?channel=web/none', 403],
    // Express does not find it.
    ['with encoded letters', '/%6Dess%61ges?channel=web/none', adapter === 'Fastify' ? 403 : 404],
  ])('is recognised by its path, even %s', async (_, path, status) => {
    const { hostname, port } = new URL(app.url);
    const [answer] = (await once(get({ hostname, port, path, agent: false }), 'response')) as [IncomingMessage];
    answer.resume();
    const header = status === 403 ? 'private, no-store' : undefined;
    expect([answer.statusCode, answer.headers['cache-control']]).toEqual([status, header]);
  });

  test('does not change other routes, which keep their headers and texts', async () => {
    const path = '/rooms/1/messages';
    expect((await ask(app.url, path)).headers['cache-control']).toBeUndefined();
    const broken = await ask(app.url, path, {}, `{"a":${TOKEN}`);
    expect([broken.status, broken.headers['cache-control']]).toEqual([400, undefined]);
    expect(broken.text).toContain(adapter === 'Express' ? 'Unexpected token' : 'is not valid JSON');
  });

  test('is recognised by prefix, version and path', async () => {
    await using other = await start(adapter, { path: 'live/feed', version: '2' }, (nest) => {
      nest.setGlobalPrefix('api');
      nest.enableVersioning({ type: VersioningType.URI });
    });
    for (const body of ['{', '{}']) {
      const answer = await ask(other.url, '/api/v2/live/feed', {}, body);
      expect(answer.headers['cache-control']).toMatch(/^private, no-store/);
    }
    const missing = await ask(other.url, '/messages', {}, '{}');
    expect([missing.status, missing.headers['cache-control']]).toEqual([404, undefined]);
  });
});

const SECRET = 'sesame-49';
const written = (data: string, rest = ''): string =>
  `{"metadata":{"v":1,"node":"n","at":1,"n":1${rest}},"pattern":"x","data":${data}}`;

describe('The log of a server', () => {
  @Serializable({ name: 'web-account' })
  class Account {
    constructor(readonly owner: string) {}
  }
  const Accounts = defineChannel('web/accounts', Account);

  test('contains nothing of messages that are rejected, wherever they come from', async () => {
    const reporter = new RecordingReporter();
    const hub = new Hub({ reporter, transport: new MemoryTransport(new MemoryBroker()) });
    await hub.start();
    const payloads = [
      `{"data": ${SECRET}}`,
      `"${SECRET}"`,
      SECRET,
      `{"pattern":"x","data":"${SECRET}","metadata":"${SECRET}"}`,
      `{"pattern":"x","data":"${SECRET}","metadata":{"v":"${SECRET}"}}`,
      `{"pattern":"x","data":"${SECRET}","metadata":{"v":1,"node":"n","at":"${SECRET}"}}`,
      written(`"${SECRET}"`),
      written(`"${SECRET}"`, ',"type":"web-account"'),
      ...['Date', 'bigint', 'RegExp', 'Error', 'Uint8Array', 'Map', 'Set', 'URL', 'undefined'].flatMap((tag) => [
        written(`"${SECRET}("`, `,"meta":"${tag}"`),
        written(`"/(${SECRET}/"`, `,"meta":"${tag}"`),
        written(`["${SECRET}"]`, `,"meta":{"":"${tag}"}`),
        written(`{"owner":"${SECRET}("}`, `,"type":"web-account","meta":{"owner":"${tag}"}`),
      ]),
    ];
    const { ready } = hub.listen(Accounts, () => {}, hub.own);
    await ready;
    for (const payload of payloads) hub['inbound'].receive(payload, Accounts.name, Accounts.name);
    expect(() => hub.post(Accounts, SECRET as never)).toThrow('a string');
    await hub.close();
    const texts = reporter.rejections.map(({ error }) => error.message);
    expect(texts.length).toBeGreaterThan(40);
    expect(texts.filter((text) => text.includes(SECRET))).toEqual([]);
  });
});
