import { expect, test } from '@jest/globals';
import { realClock } from '../../../lib/client/clock.js';
import { failureOf } from '../../../lib/client/server-requests.js';
import { FAILING_CANCELS } from '../../support/failing-cancels.js';

test.each(FAILING_CANCELS)(
  'An answer that refuses a client does, although cancelling its body %s',
  async (_, cancel) => {
    const response = { status: 403, headers: new Headers(), body: { cancel } } as unknown as Response;
    expect(await failureOf(response, '/messages', realClock)).toMatchObject({ status: 403, reason: 'refused' });
  },
);
