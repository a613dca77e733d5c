import { expect, test } from '@jest/globals';
import { realClock } from '../../../lib/client/clock.js';
import { failureOf } from '../../../lib/client/server-requests.js';

test.each<[string, () => unknown]>([
  [
    'throws',
    () => {
      throw new Error('broken');
    },
  ],
  ['returns nothing', () => undefined],
  ['rejects', () => Promise.reject(new Error('broken'))],
])('An answer that refuses a client does, although cancelling its body %s', async (_, cancel) => {
  // As the `fetch` of an application may make it, outside of browsers.
  const response = { status: 403, headers: new Headers(), body: { cancel } } as unknown as Response;
  expect(await failureOf(response, '/messages', realClock)).toMatchObject({ status: 403, reason: 'refused' });
});
