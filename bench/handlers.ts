// The cost of posting a message to methods decorated with @OnMessage, against @OnEvent.
import { Injectable, type Type } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import { MessagingModule, MessagingService, OnMessage, defineChannel, type SessionScope } from 'nestjs-messaging';
import type { BenchOptions } from './run.js';
import { startApplication } from './support/application.js';
import { Tally, compareCalls, type CallCase } from './support/calls.js';

class UserUpdate {
  readonly weight = 1;
}

const UserUpdates = defineChannel('user_updates', UserUpdate);
const ROUNDS = 15;

const message = new UserUpdate();
const tally = new Tally();

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  // Async-local last, because the first use of AsyncLocalStorage makes every promise of the process more expensive.
  for (const scope of ['request', 'async-local'] satisfies SessionScope[]) {
    for (const handlers of [1, 10]) {
      const cases = [await onEvent(handlers), await onMessage(handlers, scope)];
      const title = `post to ${handlers} decorated handlers, scope ${scope}`;
      await compareCalls({ title, cases, tally, perCall: handlers, rounds });
    }
  }
}

async function onEvent(count: number): Promise<CallCase> {
  const providers = handlerClasses(OnEvent('user_updates'), count);
  const emitter = (await startApplication({ imports: [EventEmitterModule.forRoot()], providers })).get(EventEmitter2);
  return { name: '@OnEvent', call: () => void emitter.emit('user_updates', message) };
}

async function onMessage(count: number, scope: SessionScope): Promise<CallCase> {
  const providers = handlerClasses(OnMessage(UserUpdates), count);
  const messaging = (await startApplication({ imports: [MessagingModule.forRoot({ scope })], providers })).get(
    MessagingService,
  );
  return {
    name: '@OnMessage',
    goal: { base: '@OnEvent', ratio: 0.5 },
    call: () => void messaging.postMessage(UserUpdates, message),
  };
}

function handlerClasses(
  decorate: (target: object, method: string, descriptor: PropertyDescriptor) => void,
  count: number,
): Type[] {
  return Array.from({ length: count }, () => {
    @Injectable()
    class Handler {
      @decorate
      handle(update: UserUpdate): void {
        tally.total += update.weight;
      }
    }
    return Handler;
  });
}
