import 'reflect-metadata';
import { Controller, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ExpressAdapter } from '@nestjs/platform-express';
import type { Observable } from 'rxjs';
import {
  AuthorizeChannel,
  Channel,
  MessagingModule,
  MessagingService,
  OnGap,
  OnMessage,
  SessionMessages,
  Sse,
  type Gap,
  type MessageContext,
  type Position,
} from 'nestjs-messaging';
import { redisAt, type ClusterPlace } from './redis-cluster.js';
import { channelOf, Kept, KeptOnes, keepsHistory, Numbered, RESUMED, type FaultMessage } from './fault-channels.js';
import { machineClock } from './machine-clock.js';

// A server that posts and listens, in a process of its own: see fault-process.ts.

/** Where a server finds Redis. */
export type FaultNodeRedis =
  | { readonly host: string; readonly port: number }
  | { readonly sentinels: readonly { readonly host: string; readonly port: number }[]; readonly name: string }
  | ClusterPlace;

export interface FaultNodeOptions {
  /** Its name as a poster and a reader: of this process, not of its successor. */
  readonly name: string;
  readonly redis: FaultNodeRedis;
  readonly adapter: 'Express' | 'Fastify';
  readonly heartbeatMs: number;
  readonly recoveryMs: number;
}

/** What it posts: how often on each channel, by the names of `channelOf`. */
export interface FaultNodeRun {
  readonly run: string;
  readonly everyMs: Readonly<Record<string, number>>;
  /** Up to where the process before this one has read channels with history, by their full names. */
  readonly from?: Readonly<Record<string, Position>>;
}

/** What it is asked to do; it says when it has. */
export type FaultNodeTask =
  /** To listen to all channels, each by itself, and together by the template. */
  | { readonly task: 'listen'; readonly run: FaultNodeRun }
  | { readonly task: 'post'; readonly run: FaultNodeRun }
  /** To post no more, and to wait for the answers. */
  | { readonly task: 'quiet' }
  /** To listen no more. */
  | { readonly task: 'end' };

/** What a node tells of itself, in order. */
export type FaultNodeNote =
  /** A reader that begins is ready: the subscribed name and the way in which it listens, when. Others go on. */
  | readonly ['ready', name: string, atMs: number]
  | readonly ['message', name: string, poster: string, channel: string, n: number, position: Position | null]
  | readonly ['gap', name: string, reason: string, atMs: number, position: Position | null]
  /** A post was answered. */
  | readonly ['posted', channel: string, n: number, atMs: number, isAccepted: boolean];

@Injectable()
class EverybodyMayRead {
  @AuthorizeChannel(Numbered)
  one(): boolean {
    return true;
  }

  @AuthorizeChannel(Numbered, { all: true })
  all(): boolean {
    return true;
  }

  @AuthorizeChannel(KeptOnes)
  oneKept(): boolean {
    return true;
  }

  @AuthorizeChannel(KeptOnes, { all: true })
  allKept(): boolean {
    return true;
  }
}

/** Where what the methods hear leads to, once they are listened to. */
interface Told {
  readonly message: (message: FaultMessage, position?: Position) => void;
  readonly gap: (gap: Gap) => void;
}

@Injectable()
class Methods {
  numbered: Told | undefined = undefined;
  kept: Told | undefined = undefined;

  @OnMessage(Numbered)
  takeNumbered(message: FaultMessage): void {
    this.numbered?.message(message);
  }

  @OnGap(Numbered)
  missNumbered(gap: Gap): void {
    this.numbered?.gap(gap);
  }

  @OnMessage(Kept)
  takeKept(message: FaultMessage): void {
    this.kept?.message(message);
  }

  @OnGap(Kept)
  missKept(gap: Gap): void {
    this.kept?.gap(gap);
  }
}

@Controller()
class Streams {
  constructor(private readonly messages: SessionMessages) {}

  @Sse('kept')
  kept(): Observable<FaultMessage> {
    return this.messages.createStream(Kept);
  }
}

export async function startFaultNode(options: FaultNodeOptions): Promise<void> {
  const { redis } = options;
  @Module({
    imports: [
      MessagingModule.forRoot({
        redis: 'members' in redis ? redisAt(redis) : redis,
        gateway: { recoveryMs: options.recoveryMs },
        sse: { heartbeatMs: options.heartbeatMs, retryMs: 300 },
      }),
    ],
    controllers: [Streams],
    providers: [EverybodyMayRead, Methods],
  })
  class AppModule {}
  const app = await NestFactory.create(
    AppModule,
    options.adapter === 'Express' ? new ExpressAdapter() : new FastifyAdapter(),
    { logger: process.env['FAULT_LOG'] ? ['error', 'warn'] : false },
  );
  app.enableShutdownHooks();
  await app.listen(0, '127.0.0.1');
  const node = new FaultNode(options.name, app.get(MessagingService), app.get(Methods));
  process.on('disconnect', () => process.exit());
  process.on('message', ({ id, ...task }: FaultNodeTask & { readonly id: number }) => {
    void node.do(task).then(() => process.send!({ id }));
  });
  process.send!({ url: await app.getUrl() });
}

class FaultNode {
  #timers: NodeJS.Timeout[] = [];
  #endings: (() => void)[] = [];
  readonly #pending = new Set<Promise<void>>();
  #notes: FaultNodeNote[] = [];

  constructor(
    private readonly name: string,
    private readonly messaging: MessagingService,
    private readonly methods: Methods,
  ) {}

  async do(task: FaultNodeTask): Promise<void> {
    if (task.task === 'listen') {
      const { run, everyMs, from = {} } = task.run;
      const names = Object.keys(everyMs);
      const kept = names.filter((name) => keepsHistory(channelOf(run, name).name));
      const templates = names.some((name) => name.startsWith('kept/')) ? ['*', 'kept/*'] : ['*'];
      await Promise.all([
        ...[...names, ...templates].map((name) => this.#listen(name, run)),
        ...kept.map((name) => this.#resume(name, run, from)),
      ]);
    } else if (task.task === 'post') {
      const { run, everyMs } = task.run;
      for (const [name, ms] of Object.entries(everyMs)) this.#post(run, name, ms);
    } else if (task.task === 'quiet') {
      for (const timer of this.#timers.splice(0)) clearInterval(timer);
      await Promise.all(this.#pending);
    } else {
      for (const end of this.#endings.splice(0)) end();
    }
    this.#send();
  }

  #post(run: string, name: string, everyMs: number): void {
    const channel = channelOf(run, name) as Channel<FaultMessage>;
    const options = keepsHistory(channel.name) ? undefined : { global: true };
    let n = 0;
    const post = (): void => {
      const [number, atMs] = [++n, machineClock()];
      const posted = this.messaging
        .postMessage(channel, { run, name, poster: this.name, n: number }, options)
        .then((isAccepted) => {
          this.#pending.delete(posted);
          this.#note(['posted', channel.name, number, atMs, isAccepted]);
        });
      this.#pending.add(posted);
    };
    this.#timers.push(setInterval(post, everyMs));
  }

  /** In each of the ways to listen; to channels that are like another one, in one of them. */
  async #listen(name: string, run: string): Promise<void> {
    const channel = channelOf(run, name);
    const listener = this.#reader(channel.name, run);
    const subscription = this.messaging.addListener(
      channel,
      (message, { position }: MessageContext) => listener.message(message, position),
      { onGap: listener.gap },
    );
    this.#endings.push(() => subscription.unsubscribe());
    const ways = [channel.name];
    if (!/^(kept.|brief)/.test(name)) ways.push(...this.#listenInOtherWays(name, run));
    await subscription.ready;
    for (const way of ways) this.#note(['ready', way, machineClock()]);
  }

  /** Goes on where the process before this one was. From nowhere, it begins like others: nothing is promised before it is ready. */
  async #resume(name: string, run: string, from: NonNullable<FaultNodeRun['from']>): Promise<void> {
    const channel = channelOf(run, name) as Channel<FaultMessage>;
    const way = `${channel.name} ${RESUMED}`;
    const reader = this.#reader(way, run);
    const replay = from[channel.name];
    let hasBegun = replay !== undefined;
    const subscription = this.messaging.addListener(
      channel,
      (message, { position }) => void (hasBegun && reader.message(message, position)),
      { onGap: (gap) => void (hasBegun && reader.gap(gap)), ...(replay && { replay }) },
    );
    this.#endings.push(() => subscription.unsubscribe());
    await subscription.ready;
    if (hasBegun) return;
    hasBegun = true;
    this.#note(['ready', way, machineClock()]);
  }

  #listenInOtherWays(name: string, run: string): string[] {
    const channel = channelOf(run, name);
    const ways = ['stream', 'loop', 'method'].map((way) => `${channel.name} by ${way}`);
    const [stream, loop, method] = ways.map((way) => this.#reader(way, run)) as [Told, Told, Told];
    const streamed = this.messaging
      .createStream(channel, { onGap: stream.gap })
      .subscribe((message) => stream.message(message));
    const iteration = this.messaging.iterate(channel, { onGap: loop.gap, maxBuffered: 10_000 });
    void (async () => {
      for await (const message of iteration) loop.message(message);
    })();
    this.#endings.push(() => {
      streamed.unsubscribe();
      this.methods.numbered = this.methods.kept = undefined;
      void iteration.return?.();
    });
    if (channel === Numbered) this.methods.numbered = method;
    else if (channel === Kept) this.methods.kept = method;
    else ways.pop();
    return ways;
  }

  /** Notes what one reader is given. */
  #reader(way: string, run: string): Told {
    return {
      message: (message, position) => {
        const { name } = channelOf(message.run, message.name);
        // A history has those of other runs in between.
        if (message.run !== run && !keepsHistory(name)) return;
        const poster = message.run === run ? message.poster : `${message.run}/${message.poster}`;
        this.#note(['message', way, poster, name, message.n, position ?? null]);
      },
      gap: ({ reason, position }) => this.#note(['gap', way, reason, machineClock(), position ?? null]),
    };
  }

  /** Told soon, since the process may be killed. */
  #note(note: FaultNodeNote): void {
    if (this.#notes.push(note) === 1) setTimeout(() => this.#send(), 20);
  }

  #send(): void {
    if (this.#notes.length === 0) return;
    if (process.connected) process.send!({ notes: this.#notes });
    this.#notes = [];
  }
}
