import { describe, expect, it } from '@jest/globals';
import { InvalidMessageError } from '../../../lib/protocol/errors.js';
import { MAX_EPOCH_LENGTH, positionFrom, readGapReason, readPosition } from '../../../lib/protocol/position.js';

const position = { epoch: 'node.1.0.mac', offset: 7 };

describe('A position', () => {
  it('is read without extra properties', () => {
    expect(readPosition({ ...position, __proto__: null, isAdmin: true }, 'position')).toEqual(position);
    expect(positionFrom({ ...position, offset: 0 })).toEqual({ ...position, offset: 0 });
    expect(positionFrom({ ...position, epoch: 'x'.repeat(MAX_EPOCH_LENGTH) })).toBeDefined();
  });

  it.each([
    ['nothing', undefined, 'position must be an object'],
    ['null', null, 'position must be an object'],
    ['one of the former wire format', 'node.7', 'position must be an object'],
    ['a list', ['node.1', 7], 'position must be an object'],
    ['one without an epoch', { offset: 7 }, 'position.epoch must be a text of at most 128 characters'],
    ['an epoch that is not a text', { ...position, epoch: 7 }, 'position.epoch must be a text'],
    ['an empty epoch', { ...position, epoch: '' }, 'position.epoch must be visible ASCII characters'],
    ['an epoch with a line break', { ...position, epoch: 'a\nid: 1' }, 'visible ASCII'],
    ['an epoch with a space', { ...position, epoch: 'a b' }, 'visible ASCII'],
    ['an epoch that is not ASCII', { ...position, epoch: 'żółć' }, 'visible ASCII'],
    ['a long epoch', { ...position, epoch: 'x'.repeat(MAX_EPOCH_LENGTH + 1) }, 'of at most 128 characters'],
    ['one without an offset', { epoch: 'a' }, 'position.offset must be a whole number'],
    ['an offset that is a text', { ...position, offset: '7' }, 'position.offset must be a whole number'],
    ['a negative offset', { ...position, offset: -1 }, 'position.offset must be a whole number'],
    ['half an offset', { ...position, offset: 0.5 }, 'position.offset must be a whole number'],
    ['an offset that is not a number', { ...position, offset: NaN }, 'position.offset must be a whole number'],
    ['an offset that is too large', { ...position, offset: 2 ** 53 }, 'position.offset must be a whole number'],
  ])('is not %s', (_, value, reason) => {
    expect(() => readPosition(value, 'position')).toThrow(InvalidMessageError);
    expect(() => readPosition(value, 'position')).toThrow(reason);
    expect(positionFrom(value)).toBeUndefined();
  });
});

describe('The reason of a gap', () => {
  it.each(['broker', 'node', 'trimmed', 'epoch', 'slow-consumer'])('may be %s', (reason) => {
    expect(readGapReason(reason, 'reason')).toBe(reason);
  });

  it.each([undefined, null, '', 'toString', 'Broker', ['broker'], { reason: 'broker' }])('is never %p', (value) => {
    expect(() => readGapReason(value, 'the reason')).toThrow(
      'the reason must be one of broker, node, trimmed, epoch, slow-consumer',
    );
  });
});
