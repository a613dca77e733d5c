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
  type MessageSubscription,
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
  /** A listener is ready: the subscribed name, when. */
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

export async function startFaultNode(options: FaultNodeOptions): Promise<void> {
  @Module({
    imports: [
      MessagingModule.forRoot({
        redis: { host: '127.0.0.1', port: options.redisPort },
        gateway: { recoveryMs: options.recoveryMs },
        sse: { heartbeatMs: options.heartbeatMs, retryMs: 300 },
      }),
    ],
    providers: [EverybodyMayRead],
  })
  class AppModule {}
  const app = await NestFactory.create(
    AppModule,
    options.adapter === 'Express' ? new ExpressAdapter() : new FastifyAdapter(),
    { logger: process.env['FAULT_LOG'] ? ['error', 'warn'] : false },
  );
  app.enableShutdownHooks();
  await app.listen(0, '127.0.0.1');
  const node = new FaultNode(options.name, app.get(MessagingService));
  process.on('disconnect', () => process.exit());
  process.on('message', ({ id, ...task }: FaultNodeTask & { readonly id: number }) => {
    void node.do(task).then(() => process.send!({ id }));
  });
  process.send!({ url: await app.getUrl() });
}

class FaultNode {
  #timers: NodeJS.Timeout[] = [];
  #subscriptions: MessageSubscription[] = [];
  readonly #pending = new Set<Promise<void>>();
  #notes: FaultNodeNote[] = [];

  constructor(
    private readonly name: string,
    private readonly messaging: MessagingService,
  ) {}

  async do(task: FaultNodeTask): Promise<void> {
    if (task.task === 'listen') {
      const { run, everyMs } = task.run;
      const names = Object.keys(everyMs).map((name) => Numbered.for({ run, name }).name);
      await Promise.all([...names, Numbered.name].map((name) => this.#listen(name, run)));
    } else if (task.task === 'post') {
      const { run, everyMs } = task.run;
      for (const [name, ms] of Object.entries(everyMs)) this.#post(run, name, ms);
    } else if (task.task === 'quiet') {
      for (const timer of this.#timers.splice(0)) clearInterval(timer);
      await Promise.all(this.#pending);
    } else {
      for (const subscription of this.#subscriptions.splice(0)) subscription.unsubscribe();
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

  async #listen(name: string, run: string): Promise<void> {
    // Options that a version does not know do no harm.
    const addListener = this.messaging.addListener.bind(this.messaging) as (...args: unknown[]) => MessageSubscription;
    const subscription = addListener(
      name,
      (message: FaultMessage, { channel }: { channel: string }) => {
        if (message.run === run) this.#note(['message', name, message.poster, channel, message.n]);
      },
      { onGap: ({ reason }: { reason: string }) => this.#note(['gap', name, reason, machineClock()]) },
    );
    this.#subscriptions.push(subscription);
    await subscription.ready;
    this.#note(['ready', name, machineClock()]);
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
