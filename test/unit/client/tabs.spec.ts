import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { MessagingClient, shareAcrossTabs } from 'nestjs-messaging/client';
import { CLOCK } from '../../../lib/client/clock.js';
import { ScriptedGateway } from '../../support/scripted-gateway.js';
import { Queue } from '../../support/queue.js';
import { WebLocks } from '../../support/web-locks.js';
import { FakeClock } from './fake-clock.js';

const { navigator } = globalThis;
let locks: WebLocks;
beforeAll(() => void (locks = WebLocks.install()));
afterAll(() => void Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true }));

/** Resolves with the message that a tab gets over the connection that it opens as the leader. */
async function heardAsLeader(tab: MessagingClient, gateway: ScriptedGateway, clock: FakeClock): Promise<unknown> {
  const messages = new Queue<unknown>();
  const subscribed = tab.subscribe('news', messages.push);
  // Until the new leader has heard what others want; without the lead, it would wait 10 s for a sign of life.
  const leads = new Queue<string>();
  tab.onStatus(({ state }) => leads.push(state));
  await leads.until((state) => state === 'connecting');
  clock.advance(50);
  const stream = await gateway.ready();
  await subscribed;
  stream.message({ channel: 'news', data: 'hello' });
  return messages.next();
}

test('A tab whose listener closes its client while it takes the lead leaves the lead to others', async () => {
  await using gateway = await ScriptedGateway.start();
  const clock = new FakeClock();
  const tab = (): MessagingClient =>
    new MessagingClient({ url: gateway.url, [CLOCK]: clock, link: shareAcrossTabs({ name: 'lead' }) });
  using closing = tab();
  const states = new Queue<string>();
  closing.onStatus(({ state }) => {
    states.push(state);
    // Told of while the lock of the lead is taken.
    if (state === 'connecting') closing.close();
  });
  closing.listen('news', () => {});
  await states.until((state) => state === 'closed');
  using other = tab();
  expect(await heardAsLeader(other, gateway, clock)).toBe('hello');
});

test('A tab that is closed while it takes the lead from one that is frozen leaves the lead to others', async () => {
  await using gateway = await ScriptedGateway.start();
  const clock = new FakeClock();
  const tab = (): MessagingClient =>
    new MessagingClient({ url: gateway.url, [CLOCK]: clock, link: shareAcrossTabs({ name: 'frozen' }) });
  // Holds the lock of the lead, and answers nothing.
  const frozen = locks.request(`nestjs-messaging ${gateway.url} frozen`, {}, () => new Promise(() => {}));
  const stolen = frozen.catch((error: Error) => error.message);
  using closing = tab();
  closing.listen('news', () => {});
  // Four checks without a word.
  clock.advance(8_000);
  expect(await stolen).toContain('stolen');
  closing.close();
  using other = tab();
  expect(await heardAsLeader(other, gateway, clock)).toBe('hello');
});
