import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ExpressAdapter } from '@nestjs/platform-express';
import {
  AuthorizeChannel,
  defineChannel,
  MessagingModule,
  MessagingService,
  OnGap,
  OnMessage,
  type Gap,
  type ListenableChannel,
} from 'nestjs-messaging';
import { machineClock } from './machine-clock.js';

// A server that posts and listens, in a process of its own: see fault-process.ts.

export interface FaultNodeOptions {
  /** Its name as a poster and a reader: of this process, not of its successor. */
  readonly name: string;
  /** Where it finds Redis: a proxy. */
  readonly redisPort: number;
  readonly adapter: 'Express' | 'Fastify';
  readonly heartbeatMs: number;
  readonly recoveryMs: number;
}

/** What it posts: how often on each channel, by the last part of its name. */
export interface FaultNodeRun {
  readonly run: string;
  readonly everyMs: Readonly<Record<string, number>>;
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

/** What a message says. */
export interface FaultMessage {
  readonly run: string;
  /** The last part of its channel's name: a native stream of several channels does not name them. */
  readonly name: string;
  readonly poster: string;
  readonly n: number;
}

/** What a node tells of itself, in order. */
export type FaultNodeNote =
  /** A reader is ready: the subscribed name and the way in which it listens, when. */
  | readonly ['ready', name: string, atMs: number]
  | readonly ['message', name: string, poster: string, channel: string, n: number]
  | readonly ['gap', name: string, reason: string, atMs: number]
  /** A post was answered. */
  | readonly ['posted', channel: string, n: number, atMs: number, isAccepted: boolean];

/** All channels of a run, by the template. */
export const Numbered = defineChannel<FaultMessage, 'faults/:run/:name'>('faults/:run/:name', undefined, {
  clients: true,
});

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
}

/** Where the methods lead to, once they are listened to. */
type Told = Partial<Record<'message', (message: FaultMessage) => void> & Record<'gap', (gap: Gap) => void>>;

@Injectable()
class Methods {
  told: Told = {};

  @OnMessage(Numbered)
  take(message: FaultMessage): void {
    this.told.message?.(message);
  }

  @OnGap(Numbered)
  miss(gap: Gap): void {
    this.told.gap?.(gap);
  }
}

export async function startFaultNode(options: FaultNodeOptions): Promise<void> {
  @Module({
    imports: [
      MessagingModule.forRoot({
        redis: { host: '127.0.0.1', port: options.redisPort },
        gateway: { recoveryMs: options.recoveryMs },
        sse: { heartbeatMs: options.heartbeatMs, retryMs: 300 },
      }),
    ],
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

interface Reader {
  readonly message: (message: FaultMessage) => void;
  readonly onGap: (gap: Gap) => void;
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
      const { run, everyMs } = task.run;
      const channels = Object.keys(everyMs).map((name) => Numbered.for({ run, name }));
      await Promise.all([...channels, Numbered].map((channel) => this.#listen(channel, run)));
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
    const channel = Numbered.for({ run, name });
    let n = 0;
    const post = (): void => {
      const [number, atMs] = [++n, machineClock()];
      const posted = this.messaging
        .postMessage(channel, { run, name, poster: this.name, n: number }, { global: true })
        .then((isAccepted) => {
          this.#pending.delete(posted);
          this.#note(['posted', channel.name, number, atMs, isAccepted]);
        });
      this.#pending.add(posted);
    };
    this.#timers.push(setInterval(post, everyMs));
  }

  /** In each of the ways to listen. */
  async #listen(channel: ListenableChannel<FaultMessage> & { readonly name: string }, run: string): Promise<void> {
    const { name } = channel;
    /** What one of them is given. */
    const reader = (way: string): Reader => ({
      message: (message: FaultMessage): void => {
        if (message.run !== run) return;
        this.#note(['message', way, message.poster, Numbered.for({ run, name: message.name }).name, message.n]);
      },
      onGap: ({ reason }: Gap): void => this.#note(['gap', way, reason, machineClock()]),
    });
    const ways = [name, `${name} by stream`, `${name} by loop`];
    const [listener, stream, loop] = ways.map(reader) as [Reader, Reader, Reader];
    if (channel === Numbered) {
      const way = `${name} by method`;
      ways.push(way);
      const method = reader(way);
      this.methods.told = { message: method.message, gap: method.onGap };
    }
    const streamed = this.messaging.createStream(channel, { onGap: stream.onGap }).subscribe(stream.message);
    const iteration = this.messaging.iterate(channel, { onGap: loop.onGap, maxBuffered: 10_000 });
    void (async () => {
      for await (const message of iteration) loop.message(message);
    })();
    const subscription = this.messaging.addListener(channel, listener.message, { onGap: listener.onGap });
    this.#endings.push(() => {
      subscription.unsubscribe();
      streamed.unsubscribe();
      this.methods.told = {};
      void iteration.return?.();
    });
    await subscription.ready;
    for (const way of ways) this.#note(['ready', way, machineClock()]);
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
