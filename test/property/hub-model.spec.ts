import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Hub } from '../../lib/core/hub.js';
import type { MessageSubscription } from '../../lib/core/listener.js';
import type { Session } from '../../lib/core/session.js';
import { RecordingReporter } from '../support/recording-reporter.js';

// The hub against a model so simple that it can be seen to be right: a plain array of registrations, walked
// for each message; what listeners do while a message is delivered is part of the plan.

const CHANNELS = ['a', 'b', 'r/1', 'r/2'] as const;
const LISTENABLE = [...CHANNELS, 'r/:id'] as const;

type Action =
  | { kind: 'post'; channel: (typeof CHANNELS)[number] }
  | { kind: 'listen'; channel: (typeof LISTENABLE)[number]; session: number; does?: Action }
  | { kind: 'unsubscribe'; index: number }
  | { kind: 'closeSession'; session: number };

const simple: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ kind: fc.constant('post' as const), channel: fc.constantFrom(...CHANNELS) }),
  fc.record({ kind: fc.constant('listen' as const), channel: fc.constantFrom(...LISTENABLE), session: fc.nat(2) }),
  fc.record({ kind: fc.constant('unsubscribe' as const), index: fc.nat(20) }),
);
const anyAction: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: simple },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('closeSession' as const), session: fc.nat(2) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('listen' as const),
      channel: fc.constantFrom(...LISTENABLE),
      session: fc.nat(2),
      // The listener's action in its first call.
      does: simple,
    }),
  },
);

function matches(listened: string, posted: string): boolean {
  return listened === posted || (listened === 'r/:id' && posted.startsWith('r/'));
}

class Model {
  readonly log: string[] = [];
  readonly registrations: { channel: string; session: number; isOpen: boolean; does?: Action | undefined }[] = [];
  private readonly closed = new Set<number>();
  private readonly waiting = new Map<string, number[]>();
  private posts = 0;

  do(action: Action): void {
    if (action.kind === 'post') this.post(action.channel);
    if (action.kind === 'listen' && !this.closed.has(action.session)) {
      this.registrations.push({ channel: action.channel, session: action.session, isOpen: true, does: action.does });
    }
    if (action.kind === 'unsubscribe' && this.registrations[action.index])
      this.registrations[action.index]!.isOpen = false;
    if (action.kind === 'closeSession') {
      this.closed.add(action.session);
      for (const registration of this.registrations)
        if (registration.session === action.session) registration.isOpen = false;
    }
  }

  private post(channel: string): void {
    const id = this.posts++;
    const queue = this.waiting.get(channel);
    if (queue) return void queue.push(id);
    const own = [id];
    this.waiting.set(channel, own);
    for (const message of own) {
      for (const [index, registration] of [...this.registrations.entries()]) {
        if (!registration.isOpen || !matches(registration.channel, channel)) continue;
        this.log.push(`${index} got ${message} on ${channel}`);
        const { does } = registration;
        registration.does = undefined;
        if (does) this.do(does);
      }
    }
    this.waiting.delete(channel);
  }
}

class Real {
  readonly log: string[] = [];
  private readonly hub = new Hub({ reporter: new RecordingReporter() });
  private readonly sessions: Session[] = [0, 1, 2].map(() => this.hub.sessions.open());
  private readonly subscriptions: MessageSubscription[] = [];
  private posts = 0;

  do(action: Action): void {
    if (action.kind === 'post') void this.hub.post(action.channel, this.posts++);
    if (action.kind === 'listen' && !this.sessions[action.session]!.closed) {
      const index = this.subscriptions.length;
      let { does } = action;
      const listener = (message: unknown, { channel }: { channel: string }) => {
        this.log.push(`${index} got ${message as number} on ${channel}`);
        const now = does;
        does = undefined;
        if (now) this.do(now);
      };
      this.subscriptions.push(this.hub.listen(action.channel, listener, this.sessions[action.session]!));
    }
    if (action.kind === 'unsubscribe') this.subscriptions[action.index]?.unsubscribe();
    if (action.kind === 'closeSession') this.sessions[action.session]!.close();
  }
}

test('the hub delivers what the model delivers, in the same order, whatever listeners do meanwhile', () => {
  fc.assert(
    fc.property(fc.array(anyAction, { maxLength: 40 }), (actions) => {
      const [model, real] = [new Model(), new Real()];
      for (const step of actions) {
        model.do(step);
        real.do(step);
      }
      expect(real.log).toEqual(model.log);
    }),
    { numRuns: 2_000 },
  );
});
