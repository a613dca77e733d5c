// The cost of posting a message to 1, 10 and 1,000 listeners in the process, against
// alternative emitters.
import { EventEmitter } from 'node:events';
import { EventEmitter2 } from '@nestjs/event-emitter';
import { MessagingModule, MessagingService, defineChannel } from 'nestjs-messaging';
import { Subject } from 'rxjs';
import type { BenchOptions } from './run.js';
import { startApplication } from './support/application.js';
import { Tally, compareCalls, type CallCase } from './support/calls.js';
import type { Goal } from './support/table.js';

class UserUpdate {
  readonly weight = 1;
}

const UserUpdates = defineChannel('users/:audience', UserUpdate);
const SUBJECT = 'RxJS Subject';
const ROUNDS = 15;

/**
 * The limit of a post as a share of the Subject's time, by the number of listeners. Many first: once the calling
 * code has met many listeners, as in an application, the engine no longer inlines a single one.
 */
const LISTENER_GOALS = [
  [1_000, 0.7],
  [10, 1],
  [1, 3],
] as const;

const message = new UserUpdate();
const tally = new Tally();

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const messaging = await startMessaging();
  // With templates, every channel's name must be compared with them.
  const besideTemplate = await startMessaging();
  besideTemplate.addListener('rooms/:roomId', () => {});
  for (const [listeners, ratio] of LISTENER_GOALS) {
    const goal = { base: SUBJECT, ratio };
    const cases = [
      ...emitters(listeners),
      ...ours(messaging, listeners, goal),
      { ...ours(besideTemplate, listeners, goal)[0]!, name: 'by Channel, templates elsewhere' },
    ];
    await compareCalls({ title: `post to ${listeners} listeners`, cases, tally, perCall: listeners, rounds });
  }
}

async function startMessaging(): Promise<MessagingService> {
  return (await startApplication({ imports: [MessagingModule.forRoot()] })).get(MessagingService);
}

function emitters(count: number): CallCase[] {
  const subject = new Subject<UserUpdate>();
  const emitter = new EventEmitter().setMaxListeners(0);
  const emitter2 = new EventEmitter2({ maxListeners: 0 });
  for (let index = 0; index < count; index++) {
    subject.subscribe(listener(index));
    emitter.on('update', listener(index));
    emitter2.on('update', listener(index));
  }
  return [
    { name: SUBJECT, call: () => subject.next(message) },
    { name: 'node EventEmitter', call: () => void emitter.emit('update', message) },
    { name: 'EventEmitter2', call: () => void emitter2.emit('update', message) },
  ];
}

function ours(messaging: MessagingService, count: number, goal: Goal): CallCase[] {
  const together = UserUpdates.for({ audience: `one-session-${count}` });
  const apart = UserUpdates.for({ audience: `own-sessions-${count}` });
  const session = messaging.openSession();
  for (let index = 0; index < count; index++) {
    session.addListener(together, listener(index));
    messaging.openSession().addListener(apart, listener(index));
  }
  return [
    { name: 'by Channel', goal, call: () => void messaging.postMessage(together, message) },
    { name: 'by string', goal, call: () => void messaging.postMessage(together.name, message) },
    { name: 'by Channel, a session each', goal, call: () => void messaging.postMessage(apart, message) },
  ];
}

// As in an application, listeners are not all the same function: each one has different code, which
// keeps the engine from inlining one of them into the loop that calls them.
const KINDS: readonly (() => (update: UserUpdate) => void)[] = [
  () => (update) => void (tally.total += update.weight),
  () => (update) => void (tally.total += update.weight | 0),
  () => (update) => void (tally.total += update.weight * 1),
  () => (update) => void (tally.total += update.weight - 0),
  () => (update) => void (tally.total += update.weight || 0),
  () => (update) => void (tally.total += update.weight ^ 0),
];

function listener(index: number): (update: UserUpdate) => void {
  return KINDS[index % KINDS.length]!();
}
