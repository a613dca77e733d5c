import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { placeId, readPlaceId } from '../../../lib/protocol/place-id.js';

const epoch = fc.stringMatching(/^[\x21-\x7e]{1,40}$/);

describe('The id of a position in a history', () => {
  it('is short, and consists of the epoch and the offset', () => {
    expect(placeId({ epoch: '6f3a.1', offset: 42 })).toBe('messaging:6f3a.1:42');
    expect(placeId({ epoch: '', offset: 0 })).toBe('messaging::0');
  });

  it('is read back as the same position', () => {
    fc.assert(
      fc.property(epoch, fc.maxSafeNat(), (its, offset) => {
        expect(readPlaceId(placeId({ epoch: its, offset }))).toEqual({ epoch: its, offset });
      }),
    );
    expect(readPlaceId('messaging::0')).toEqual({ epoch: '', offset: 0 });
  });

  it.each([
    ['none', undefined],
    ['several headers', ['messaging:a:1', 'messaging:a:2']],
    ['two joined headers', 'messaging:a:1, messaging:a:2'],
    ['one of an application', 'order:12'],
    ['a number', '12'],
    ['nothing', ''],
    ['the id of the end', 'messaging:end'],
    ['a position without an offset', 'messaging:a:'],
    ['a position after the beginning without an epoch', 'messaging::7'],
    ['an offset with zeros before it', 'messaging:a:07'],
    ['a negative offset', 'messaging:a:-1'],
    ['half an offset', 'messaging:a:0.5'],
    ['an offset that is too large', `messaging:a:${2 ** 53}`],
    ['an offset in other digits', 'messaging:a:٣'],
    ['an epoch with a space', 'messaging:a b:1'],
    ['an epoch with a control character', 'messaging:a\u007f:1'],
    ['an epoch that is not ASCII', 'messaging:ż:1'],
    ['a long epoch', `messaging:${'x'.repeat(41)}:1`],
    ['text after it', 'messaging:a:1\n'],
  ])('is not %s', (_, id) => {
    expect(readPlaceId(id)).toBeUndefined();
  });

  it('is refused quickly, however long the header is', () => {
    const before = process.cpuUsage().user;
    for (let index = 0; index < 10_000; index++) readPlaceId(`messaging:${':1'.repeat(8_000)}`);
    expect(process.cpuUsage().user - before).toBeLessThan(1_000_000);
  });
});
