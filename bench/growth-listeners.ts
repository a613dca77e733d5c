// How the cost of a post in the process grows with the listeners of its channel, and that it does not grow with sessions that
// listen to other channels.
import { EventEmitter } from 'node:events';
import { MessagingModule, MessagingService, defineChannel } from 'nestjs-messaging';
import { Subject } from 'rxjs';
import type { BenchOptions } from './run.js';
import { startApplication } from './support/application.js';
import { takeTurns } from './support/compare.js';
import { compareFigures } from './support/compare-figures.js';
import { nsOfCall } from './support/growth-calls.js';
import type { Case } from './support/table.js';

const ROUNDS = 5;
const LISTENERS = [1, 10, 100, 1_000, 10_000, 100_000];
const SESSIONS = [1, 10, 100, 1_000, 10_000];

class Update {
  readonly weight = 1;
}

const Updates = defineChannel('updates/:number', Update);
const update = new Update();
let total = 0;

interface PostCase extends Case {
  readonly post: () => void;
  /** The divisor of the cost. */
  readonly listeners: number;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const messaging = await startMessaging();
  const listened = LISTENERS.flatMap((at) => listenedBy(messaging, at));
  await comparePosts('A post, for each of its listeners', 'listeners of the channel', listened, rounds);
  const elsewhere: PostCase[] = [];
  for (const at of SESSIONS) elsewhere.push(...besideSessions(await startMessaging(), at));
  await comparePosts('A post beside sessions', 'sessions that listen elsewhere', elsewhere, rounds);
}

function listenedBy(messaging: MessagingService, at: number): PostCase[] {
  const subject = new Subject<Update>();
  const emitter = new EventEmitter().setMaxListeners(0);
  const together = Updates.for({ number: `together-${at}` });
  const apart = Updates.for({ number: `apart-${at}` });
  const streamed = Updates.for({ number: `streamed-${at}` });
  const session = messaging.openSession();
  for (let index = 0; index < at; index++) {
    subject.subscribe(listener(index));
    emitter.on('update', listener(index));
    session.addListener(together, listener(index));
    const own = messaging.openSession();
    own.addListener(apart, listener(index));
    own.createStream(streamed).subscribe(listener(index));
  }
  const listeners = at;
  return [
    { name: 'RxJS Subject', at, listeners, post: () => subject.next(update) },
    { name: 'node EventEmitter', at, listeners, post: () => void emitter.emit('update', update) },
    { name: 'messaging, one session', at, listeners, post: () => void messaging.postMessage(together, update) },
    { name: 'messaging, a session each', at, listeners, post: () => void messaging.postMessage(apart, update) },
    { name: 'messaging, a stream each', at, listeners, post: () => void messaging.postMessage(streamed, update) },
  ];
}

function besideSessions(messaging: MessagingService, at: number): PostCase[] {
  const one = Updates.for({ number: 'one' });
  const ten = Updates.for({ number: 'ten' });
  messaging.addListener(one, listener(0));
  for (let index = 0; index < 10; index++) messaging.openSession().addListener(ten, listener(index));
  for (let index = 0; index < at; index++)
    messaging.openSession().addListener(Updates.for({ number: `elsewhere-${index}` }), listener(index));
  return [
    { name: 'to 1 listener', at, listeners: 1, post: () => void messaging.postMessage(one, update) },
    { name: 'to 10 listeners, a session each', at, listeners: 1, post: () => void messaging.postMessage(ten, update) },
  ];
}

async function comparePosts(title: string, along: string, cases: readonly PostCase[], rounds: number): Promise<void> {
  // So many calls that reading the clock costs nothing beside them.
  const measure = async ({ post, listeners }: PostCase) => ({
    cpu: nsOfCall(post, Math.ceil(1_000 / listeners)) / listeners,
  });
  await takeTurns(cases, 2, measure);
  await compareFigures({ figures: { cpu: { title, unit: 'ns of CPU', along } }, cases, rounds, measure });
}

// Not all the same function, as in an application; see bench/local.ts.
const KINDS: readonly (() => (message: Update) => void)[] = [
  () => (message) => void (total += message.weight),
  () => (message) => void (total += message.weight | 0),
  () => (message) => void (total += message.weight * 1),
  () => (message) => void (total += message.weight - 0),
  () => (message) => void (total += message.weight || 0),
  () => (message) => void (total += message.weight ^ 0),
];

function listener(index: number): (message: Update) => void {
  return KINDS[index % KINDS.length]!();
}

async function startMessaging(): Promise<MessagingService> {
  return (await startApplication({ imports: [MessagingModule.forRoot()] })).get(MessagingService);
}
