// A node of a cluster in a separate process: forked with the URL of a Redis, it listens and posts on request.
import 'reflect-metadata';
import { setTimeout } from 'node:timers/promises';
import { defineChannel, MessagingModule, MessagingService, Serializable } from 'nestjs-messaging';
import { startApplication } from './application.js';
import { answerCalls } from './pinned-process.js';

/** The content of each message: about 225 bytes as JSON. */
@Serializable({ name: 'growth-event' })
class Event {
  readonly room = 'rooms/42';
  readonly author = { id: 7, name: 'Ada Lovelace', admin: false };
  readonly text = 'Hello, how are you today? I am fine, thank you, and so is everybody else around here.';
  readonly tags = ['a', 'b'];
  readonly at = 1_732_270_000_000;

  constructor(readonly id: number) {}
}

/** Channels of a kind: those with these numbers. */
export interface Channels {
  readonly kind: string;
  readonly from: number;
  readonly to: number;
}

/** Posts to each of the channels in turn; `inFlight` posts may wait for Redis' answer. */
export interface Posts {
  readonly to: Channels;
  readonly count: number;
  readonly inFlight: number;
}

const Events = defineChannel('growth/:kind/:number', Event);
const app = await startApplication({ imports: [MessagingModule.forRoot({ redis: process.argv[2] })] });
const messaging = app.get(MessagingService);
let received = 0;
let wanted = Infinity;
let resolveReceived = () => {};

const calls = {
  listen,
  listenToTemplates,
  post,
  receive,
  used,
  memory,
};

/** The functions that such a node offers. */
export type NodeCalls = typeof calls;

answerCalls(calls);

/** One listener for each channel; resolves once Redis has confirmed all of them. */
async function listen({ kind, from, to }: Channels): Promise<void> {
  const listening: Promise<unknown>[] = [];
  for (let number = from; number < to; number++)
    listening.push(messaging.addListener(Events.for({ kind, number: String(number) }), count).ready);
  await Promise.all(listening);
}

/** As many templates, with as many segments as the channels, but no match among them. */
async function listenToTemplates({ kind, from, to }: Channels): Promise<void> {
  for (let number = from; number < to; number++)
    await messaging.addListener(`templates/${kind}${number}/:id`, () => {}).ready;
}

function count(): void {
  if (++received === wanted) resolveReceived();
}

async function post({ to: { kind, from, to }, count: posts, inFlight }: Posts): Promise<void> {
  const channels = Array.from({ length: Math.min(to - from, posts) }, (_, index) =>
    Events.for({ kind, number: String(from + index) }),
  );
  for (let posted = 0; posted < posts; posted += inFlight) {
    await Promise.all(
      Array.from({ length: Math.min(inFlight, posts - posted) }, (_, index) =>
        messaging.postMessage(channels[(posted + index) % channels.length]!, new Event(posted), { global: true }),
      ),
    );
  }
}

/** Resolves once this many messages have arrived since the last time. */
async function receive(messages: number): Promise<void> {
  if (received < messages) {
    await new Promise<void>((resolve) => {
      wanted = messages;
      resolveReceived = resolve;
    });
  }
  if (received > messages) throw new Error(`${received} messages came instead of ${messages}`);
  received = 0;
  wanted = Infinity;
}

/** @returns microseconds of CPU since the start, of all threads */
function used(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function memory(): Promise<number> {
  for (let times = 0; times < 3; times++) {
    await setTimeout(50);
    gc!();
  }
  return process.memoryUsage().heapUsed;
}
