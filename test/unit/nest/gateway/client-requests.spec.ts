import { describe, expect, test } from '@jest/globals';
import { readChannelQuery } from '../../../../lib/nest/gateway/client-requests.js';
import { keptBytes } from '../../../support/kept-memory.js';

describe('The channels of a GET', () => {
  test('are kept alone, and not with the long URL that names them', () => {
    const bounds = { maxNamesPerRequest: 10, maxRequestBytes: 1_000 };
    const bytes = keptBytes(() =>
      Array.from({ length: 1_000 }, (_, index) =>
        readChannelQuery(`/messages?channel=rooms/a-long-name-${index}&rest=${'x'.repeat(10_000)}`, bounds),
      ),
    );
    expect(bytes).toBeLessThan(1_000_000);
  });
});
