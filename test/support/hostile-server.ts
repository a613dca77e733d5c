import 'reflect-metadata';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Body, Controller, Get, Injectable, Module, Param, Post, type LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Transform } from 'class-transformer';
import { IsString, ValidateBy } from 'class-validator';
import {
  AuthorizeChannel,
  ClientConnectionChanges,
  defineChannel,
  Messages,
  MessagingModule,
  MessagingService,
  OnMessage,
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
  Serializable,
  SessionMessages,
  Sse,
  type AuthenticationInfo,
  type ClientContext,
  type MessageContext,
} from 'nestjs-messaging';
import { Observable, of, throwError, type OperatorFunction } from 'rxjs';
import { concatWith, finalize, map, takeUntil, tap } from 'rxjs/operators';
import { Hub } from '../../lib/core/hub.js';
import { EventStreams } from '../../lib/sse/event-streams.js';
import { ADAPTERS, type AdapterName } from './apps.js';
import {
  FAILURES,
  fail,
  hostileMessage,
  never,
  originOf,
  thenGetterThatThrows,
  thenableThatThrows,
} from './hostile-code.js';
import { Good, GoodKept, type Numbered } from './hostile-messages.js';
import { ThreadClock } from './thread-clock.js';

/** The state of a server. */
export interface HostileServerState {
  /** Rejections and exceptions that reached the process unhandled. */
  readonly faults: readonly string[];
  /** The messages on the good channel: how many arrived, and the first one out of order. */
  readonly good: { readonly count: number; readonly wrong: string | undefined };
  /** The same, of the good channel with history. */
  readonly kept: { readonly count: number; readonly wrong: string | undefined };
  /** Messages heard on channels whose every listener fails, and how many of them came from other servers. */
  readonly heard: number;
  readonly heardRemote: number;
  /** How many lines the library has logged, and the last ones. */
  readonly lines: number;
  readonly lastLines: readonly string[];
  /** How many sessions and event streams are open. */
  readonly open: { readonly sessions: number; readonly streams: number };
  /** The most CPU time that one turn of the event loop took of its thread, in milliseconds. */
  readonly busyMs: number;
  /** The event loop's delay by the clock, with what else the machine did, in milliseconds: for information only. */
  readonly delayMs: { readonly p99: number; readonly max: number };
}

/** With its data in memory. */
export interface MeasuredServerState extends HostileServerState {
  /** After a garbage collection, in bytes. */
  readonly heapBytes: number;
}

const MOST_FAULTS = 50;
const MAX_CHAINED = 1_000;
const faults = new Set<string>();
const lines: string[] = [];
let lineCount = 0;
let heard = 0;
let heardRemote = 0;

/** The messages that must arrive in order. */
class Sequence {
  count = 0;
  wrong: string | undefined;

  take({ run, n }: Numbered): void {
    if (run !== process.env['RUN']) return;
    if (n !== this.count + 1) this.wrong ??= `${n} after ${this.count}`;
    this.count = n;
  }
}
const [good, kept] = [new Sequence(), new Sequence()];

/** Keeps the lines of the library, then throws. */
class ThrowingLogger implements LoggerService {
  log = (): void => {};
  warn = (...line: unknown[]): void => this.keep(line);
  error = (...line: unknown[]): void => this.keep(line);

  private keep(line: unknown[]): void {
    // Lines of Nest report its own failed requests, and Nest does not survive a logger that throws.
    if (line.at(-1) !== 'Messaging') return;
    lineCount++;
    lines.push(String(line[0]).slice(0, 300));
    if (lines.length > 50) lines.shift();
    if (lineCount % 2 === 0) fail();
  }
}

@Serializable({ name: 'Checked' })
class Checked {
  @IsString()
  readonly name: string;
  @ValidateBy({ name: 'throws', validator: { validate: (value: unknown) => value === 1 || fail() } })
  readonly sync: unknown;
  @ValidateBy({
    name: 'rejects',
    async: true,
    validator: { validate: async (value: unknown) => value === 1 || fail() },
  })
  readonly later: unknown;

  constructor(name: string, sync: unknown = 1, later: unknown = 1) {
    this.name = name;
    this.sync = sync;
    this.later = later;
  }
}

@Serializable({ name: 'Transformed' })
class Transformed {
  @Transform(() => fail())
  readonly value = 1;

  set trap(_value: unknown) {
    fail();
  }
}

const AnyKind = defineChannel('any/:kind');
const Chain = defineChannel('chain/:step');
const CheckedOnes = defineChannel('checked', Checked, { clients: true });
const TransformedOnes = defineChannel('transformed', Transformed, { clients: true });
const Open = defineChannel('open/:name', undefined, { clients: true });
const Scoped = defineChannel('scoped/:name', Checked, { requiredScopes: ['admin'], clients: true });
const Decided = defineChannel('decided/:how');
const Kept = defineChannel('kept/:id', undefined, { clients: true, history: { maxMessages: 50, ttlMs: 60_000 } });

@Injectable()
class HostileListeners {
  private chains = 0;

  constructor(private readonly messaging: MessagingService) {}

  @OnMessage(Good)
  hearGood(message: Numbered): void {
    good.take(message);
  }

  @OnMessage(GoodKept)
  hearKept(message: Numbered): void {
    kept.take(message);
  }

  @OnMessage(AnyKind)
  count(_message: unknown, { origin }: MessageContext): void {
    heard++;
    if (origin === 'global') heardRemote++;
  }

  @OnMessage(AnyKind)
  @OnMessage(CheckedOnes)
  @OnMessage(TransformedOnes)
  @OnMessage(Open)
  @OnMessage(Kept)
  @OnMessage(ClientConnectionChanges)
  throwsAtOnce(): never {
    fail();
  }

  @OnMessage(AnyKind)
  async rejects(): Promise<void> {
    await Promise.resolve();
    fail();
  }

  @OnMessage(AnyKind)
  @OnMessage(ClientConnectionChanges)
  thenThrows(): PromiseLike<never> {
    return thenableThatThrows();
  }

  @OnMessage(AnyKind)
  thenCannotBeRead(): PromiseLike<never> {
    return thenGetterThatThrows();
  }

  @OnMessage(AnyKind)
  fails(): unknown {
    return FAILURES[heard % (FAILURES.length - 1)]!();
  }

  // Deep, and not with each message: it takes its time, which is that of the application.
  @OnMessage(Chain)
  goOn(_message: unknown, { params }: { params: Record<string, string> }): unknown {
    const step = Number(params['step']) || 0;
    if (step > MAX_CHAINED * 10 || (step < 10 && this.chains++ % 100 !== 0)) return undefined;
    return this.messaging.postMessage(`chain/${step + 10}`, null);
  }
}

const SHAPES: readonly unknown[] = [
  'a text',
  7,
  true,
  [],
  {},
  { userId: { toString: fail } },
  { userId: 1, scopes: true },
  { userId: 1, scopes: 'nonadmin' },
  { userId: 1, scopes: [7, null] },
  { userId: '', authId: {} },
  { userId: Symbol('user') },
  Object.defineProperty({}, 'userId', { get: fail }),
  Object.defineProperty({ userId: 1 }, 'scopes', { get: fail }),
  new Proxy({}, { get: fail, has: fail, ownKeys: fail }),
  { userId: 1, issuedAt: Number.NaN, expiresAt: 'soon' },
  thenableThatThrows(),
];

/** The sender of a request, as a header names it: a user, or a failure. */
function authenticate({ headers }: { headers: Record<string, string | undefined> }): AuthenticationInfo | null {
  const [what, value = ''] = (headers['x-auth'] ?? '').split(':');
  if (what === 'user') return { userId: value, authId: 'a1', scopes: ['chat'] };
  if (what === 'fail') return FAILURES[Number(value) % FAILURES.length]!() as null;
  if (what === 'shape') return SHAPES[Number(value) % SHAPES.length] as null;
  return null;
}

@Injectable()
class HostileAuthorizers {
  private turn = 0;

  @AuthorizeChannel(Decided)
  decide(_client: ClientContext, { how }: { how: string }): boolean {
    if (how === 'yes') return true;
    if (how === 'truthy') return ['yes', 1, {}, []][this.turn++ % 4] as boolean;
    return FAILURES[this.turn++ % FAILURES.length]!() as boolean;
  }

  @AuthorizeChannel(Decided, { all: true })
  decideOnAll(): boolean {
    return fail();
  }

  @AuthorizeChannel(Scoped)
  scoped(): Promise<boolean> {
    return never();
  }
}

const STREAMS: readonly ((messages: SessionMessages, messaging: MessagingService) => unknown)[] = [
  () => fail(),
  async () => fail(),
  () => never(),
  () => thenableThatThrows(),
  () => throwError(() => new Error('at once')),
  (messages) => messages.createStream(AnyKind).pipe(finalize(fail) as OperatorFunction<unknown, unknown>),
  (messages) => messages.createStream(AnyKind).pipe(tap(fail) as OperatorFunction<unknown, unknown>),
  (messages) => messages.createStream(AnyKind).pipe(map(fail)),
  (messages) => messages.createStream(AnyKind).pipe(takeUntil(new Observable(() => fail))),
  (messages) => messages.createStream(AnyKind).pipe(takeUntil(throwError(() => new Error('notifier')))),
  (messages) => of(1).pipe(concatWith(messages.createStream('open/x')), finalize(fail)),
  (messages) => messages.createStream('kept/a', { replay: 20 }),
  (messages) => messages.createStream(Kept),
  () => new Observable(() => fail),
  () => new Observable(() => fail()),
  () => new Observable((subscriber) => void Promise.resolve().then(() => subscriber.error(new Error('later')))),
  () => iterator({ next: fail }),
  () => iterator({ next: async () => fail() }),
  () => iterator({ next: never, return: fail }),
  () => iterator({ next: never, return: async () => fail() }),
  () => iterator({ next: never, return: never }),
  () => iterator({ next: never, return: thenGetterThatThrows }),
  () => iterator({ next: async () => ({ done: false, value: { toJSON: fail } }) }),
  () => Object.defineProperty({}, Symbol.asyncIterator, { get: fail }),
  async function* () {
    try {
      yield 1;
      await never();
    } finally {
      fail();
    }
  },
  () => undefined,
  () => 5,
  async () => null,
  ({ session }) => {
    session.signal.addEventListener('abort', fail);
    session.signal.addEventListener('abort', { handleEvent: fail });
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- both ways
    session.signal.onabort = fail;
    (session as unknown as { onClose(run: () => unknown): void }).onClose(fail);
    (session as unknown as { onClose(run: () => unknown): void }).onClose(async () => fail());
    return new Observable(() => fail);
  },
  (messages) => {
    messages.addListener(AnyKind, fail);
    messages.addListener('open/x', async () => fail());
    return messages.createStream('open/x').pipe(finalize(() => messages.session.signal.throwIfAborted()));
  },
  (_messages, messaging) => {
    const own = messaging.openSession({ auth: { userId: 'victim' }, signal: AbortSignal.timeout(20) });
    own.session.signal.addEventListener('abort', fail);
    return own.createStream(AnyKind).pipe(finalize(fail));
  },
];

function iterator(steps: object): AsyncIterable<unknown> {
  return { [Symbol.asyncIterator]: () => steps as AsyncIterator<unknown> };
}

const WITHDRAWALS = [
  () => new RevokedAuthenticationUser(),
  () => new RevokedAuthenticationAuthId('a1'),
  () => new RevokedAuthenticationScope(['chat', 'admin']),
  () => 'everything',
];

@Controller()
class HostileController {
  constructor(private readonly messaging: MessagingService) {}

  @Sse('sse/:index')
  stream(@Param('index') index: string, @Messages() messages: SessionMessages): never {
    return STREAMS[Number(index) % STREAMS.length]!(messages, this.messaging) as never;
  }

  /** Posts a value that is hard to post. The application decides on the answer. */
  @Post('post/:channel/:index')
  async post(
    @Param('channel') channel: string,
    @Param('index') index: string,
    @Body() body: unknown,
    @Messages() messages: SessionMessages,
  ): Promise<string> {
    try {
      messages.addListener(AnyKind, fail);
      const message = channel === 'checked' ? new Checked('x', body, index) : hostileMessage(Number(index), body);
      const global = Number(index) % 2 === 0;
      const posted = messages.postMessage(channel.replace('~', '/'), message, { global });
      // According to the documentation, a call without `await` is safe.
      if (Number(index) % 3 === 0) return 'posted';
      return String(await posted);
    } catch {
      return 'refused';
    }
  }

  @Post('revoke/:user/:index')
  async revoke(@Param('user') user: string, @Param('index') index: string): Promise<string> {
    try {
      return String(await this.messaging.revokeAuthentication(user, WITHDRAWALS[Number(index) % 4]!() as never));
    } catch {
      return 'refused';
    }
  }

  @Get('alive')
  alive(): string {
    return 'yes';
  }
}

/** Starts a server whose every function fails, and answers its parent's questions about it. */
export async function startHostileServer(options: { adapter: AdapterName; redis: string }): Promise<string> {
  process.on('unhandledRejection', (error) => note('rejection', error));
  process.on('uncaughtException', (error) => note('exception', error));
  @Module({
    imports: [
      MessagingModule.forRoot({
        // One of them also hears stock clients.
        redis: { url: options.redis, interop: options.adapter === 'Fastify' },
        // State kept for returning clients would look like growth.
        gateway: { recoveryMs: 500 },
        authenticate: authenticate as never,
        onListenerError: fail,
        limits: { maxConnectionsPerUser: 20 },
      }),
    ],
    controllers: [HostileController],
    providers: [HostileListeners, HostileAuthorizers],
  })
  class HostileModule {}
  const app = await NestFactory.create(HostileModule, ADAPTERS[options.adapter](), {
    logger: new ThrowingLogger(),
    forceCloseConnections: true,
    abortOnError: false,
  });
  await app.listen(0, '127.0.0.1');
  const loop = new LoopWatch();
  const answer = async (ask: Question['ask']): Promise<unknown> => {
    if (ask === 'close') await app.close();
    if (ask === 'node') return app.get(MessagingService).node;
    const heapBytes = ask === 'heap' ? loop.except(heap) : undefined;
    const open = { sessions: app.get(Hub).sessions.size, streams: app.get(EventStreams, { strict: false }).size };
    return { ...stateOf(loop), open, heapBytes };
  };
  process.on('message', ({ id, ask }: Question) => {
    void answer(ask).then((state) => process.send!({ id, answer: state }));
  });
  process.on('disconnect', () => process.exit());
  return app.getUrl();
}

/** The requests of the parent process. */
interface Question {
  readonly id: number;
  readonly ask: 'state' | 'heap' | 'node' | 'close';
}

function heap(): number {
  globalThis.gc!();
  globalThis.gc!();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/**
 * The work of the event loop in one turn: the CPU time of its thread. Other threads and programs do not count, so it
 * is the same on a busy machine.
 */
class LoopWatch {
  private readonly cpu = new ThreadClock();
  private lastMs = this.cpu.now();
  busyMs = 0;
  readonly delay = monitorEventLoopDelay({ resolution: 5 });

  constructor() {
    this.delay.enable();
    setInterval(() => {
      const now = this.cpu.now();
      this.busyMs = Math.max(this.busyMs, now - this.lastMs);
      this.lastMs = now;
    }, 5).unref();
  }

  /** Runs something uncounted. */
  except<T>(run: () => T): T {
    const before = this.cpu.now();
    const result = run();
    this.lastMs += this.cpu.now() - before;
    return result;
  }
}

function stateOf({ busyMs, delay }: LoopWatch): Omit<HostileServerState, 'open'> {
  return {
    faults: [...faults],
    good: { count: good.count, wrong: good.wrong },
    kept: { count: kept.count, wrong: kept.wrong },
    heard,
    heardRemote,
    lines: lineCount,
    lastLines: lines,
    busyMs,
    delayMs: { p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 },
  };
}

/** Keeps escaped errors, one of each kind. */
function note(kind: string, error: unknown): void {
  const where = originOf(error) ?? stackOf(error);
  if (faults.size < MOST_FAULTS) faults.add(`${kind}:\n${where.replaceAll(/\(?file:\S+eval1\]|:\d+:\d+\)?/g, '')}`);
}

function stackOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.stack?.slice(0, 2_000)}` : String(error);
  } catch {
    return 'something that cannot be shown';
  }
}
