import { expect, test } from '@jest/globals';
import { firstValueFrom, Observable, of, Subject, throwError } from 'rxjs';
import { isolateStatus } from '../../../lib/core/isolated-status.js';
import { Hub } from '../../../lib/core/hub.js';
import { IsolatedTransport } from '../../../lib/core/isolated-transport.js';
import type { TransportStatus } from '../../../lib/core/transport.js';
import { whenHeard } from '../../../lib/core/heard.js';
import { messageOf, thrownText } from '../../../lib/protocol/thrown.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

/** What subscribers see of a status that an application made up, and what is reported. */
function setup(status: unknown) {
  const failures: string[] = [];
  const isolated = isolateStatus({ status: status as Observable<TransportStatus> }, (error) =>
    failures.push(thrownText(error)),
  );
  const seen: string[] = [];
  isolated.subscribe({
    next: ({ state, error }) => seen.push(`${state}${error === undefined ? '' : `: ${messageOf(error)}`}`),
    error: () => seen.push('failed'),
    complete: () => seen.push('complete'),
  });
  return { isolated, failures, seen };
}

const broken = new Error('broken');
const unreadable = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};

test.each<[string, () => unknown]>([
  ['fails', () => throwError(() => broken)],
  [
    'fails when it is subscribed to',
    () => ({
      subscribe: () => {
        throw broken;
      },
    }),
  ],
])('A status of a transport that %s counts as lost, is reported once, and fails nobody', async (_, make) => {
  const { isolated, failures, seen } = setup(make());
  const text = 'waiting: The transport no longer tells its status: broken';
  expect(seen).toEqual([text]);
  expect((await firstValueFrom(isolated)).error?.cause).toBe(broken);
  expect(failures).toEqual(['broken']);
});

test('A value from a transport that is not a status is reported and skipped', () => {
  const { failures, seen } = setup(
    of(null, 'ready', { state: 'up' }, unreadable(), { state: 'ready' }, { state: 'ready', error: 'full' }),
  );
  expect(seen).toEqual(['ready', 'ready: "full"', 'complete']);
  expect(failures.map((text) => text.split(', not ')[1])).toEqual([
    'null',
    '"ready" with state undefined',
    'an object with state "up"',
    'a value that cannot be read',
  ]);
});

test('An error in the status of a transport can be read, whatever it is', () => {
  const error = Object.defineProperty(new Error('x'), 'message', {
    get: () => {
      throw broken;
    },
  });
  const { failures, seen } = setup(of({ state: 'waiting', error }, { state: 'waiting', error: unreadable() }));
  expect(seen).toEqual([`waiting: ${thrownText(error)}`, 'waiting: a value that cannot be read', 'complete']);
  expect(failures).toEqual([]);
});

test('A status of a transport is subscribed to once, never given up, and the latest one comes to all', async () => {
  const reports = new Subject<TransportStatus>();
  let [subscriptions, ends] = [0, 0];
  const { isolated } = setup(
    new Observable<TransportStatus>((subscriber) => {
      subscriptions++;
      subscriber.next({ state: 'connecting' });
      reports.subscribe(subscriber);
      return () => {
        ends++;
        throw broken;
      };
    }),
  );
  reports.next({ state: 'ready' });
  expect([await firstValueFrom(isolated), await firstValueFrom(isolated)]).toEqual([
    { state: 'ready' },
    { state: 'ready' },
  ]);
  expect([subscriptions, ends]).toEqual([1, 0]);
});

test('A status of a transport that fails lets nobody wait, nor fails what waits for it', async () => {
  const reporter = new RecordingReporter();
  const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { status: throwError(() => broken) });
  const hub = new Hub({ reporter, transport: new IsolatedTransport(transport, reporter) });
  await whenHeard(hub, [{ ready: new Promise(() => undefined) }]);
  expect(reporter.callbackFailures).toEqual([{ callback: '"status" of the transport', error: broken }]);
});
