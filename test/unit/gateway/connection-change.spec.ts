import { describe, expect, test } from '@jest/globals';
import { claimOf } from '../../../lib/gateway/claim.js';
import {
  MAX_UNSUBSCRIBED,
  readChangeOutcome,
  readConnectionChange,
  writeChangeOutcome,
  writeConnectionChange,
  type ConnectionChange,
} from '../../../lib/gateway/connection-change.js';
import { InvalidMessageError } from '../../../lib/protocol/errors.js';
import { ruleOf } from '../../support/gateway-node.js';

const CHANGE: ConnectionChange = {
  connection: 'c',
  auth: { userId: 'ada', authId: 'phone', scopes: ['read'], issuedAt: 1, expiresAt: 2 },
  subscribe: ['a'],
  rules: new Map(),
  claims: new Map(),
  replays: [],
  unsubscribe: ['b'],
  age: { tookMs: 7 },
};
const sent = (change: ConnectionChange): object => JSON.parse(JSON.stringify(writeConnectionChange(change))) as object;
const names = (count: number): string[] => Array.from({ length: count }, (_, index) => String(index));

describe('A change that another node asks for', () => {
  test('is read up to its limits', () => {
    const change = {
      ...CHANGE,
      subscribe: [...names(9), 'n'.repeat(255)],
      unsubscribe: names(MAX_UNSUBSCRIBED),
      more: 1,
    };
    const { more: _more, ...expected } = change;
    expect(readConnectionChange(sent(change), 10)).toEqual(expected);
  });

  test('belongs to nobody if nobody is signed in', () => {
    expect(readConnectionChange(sent({ ...CHANGE, auth: null }), 10).auth).toBeNull();
  });

  test('contains the positions of the channels that the client had', () => {
    const claims = new Map([['a', claimOf({ epoch: 'epoch', offset: 7 })]]);
    expect(readConnectionChange(sent({ ...CHANGE, subscribe: ['b', 'a'], claims }), 10)).toEqual({
      ...CHANGE,
      subscribe: ['b', 'a'],
      claims,
    });
  });

  test('contains the rules that grant its channels, each of them once', () => {
    const rule = { names: ['rooms/:roomId'], scopes: ['read'], authorizers: ['Rooms.mayRead', 'Rooms.mayEnter'] };
    const subscribe = names(1_000);
    // Each decision creates a new object. An earlier version has decided about the first channel.
    const rules = new Map(subscribe.slice(1).map((name) => [name, { ...rule }]));
    const change = { ...CHANGE, subscribe, rules };
    expect(readConnectionChange(sent(change), 1_000)).toEqual(change);
    const without = JSON.stringify(sent({ ...change, rules: new Map() }));
    expect(JSON.stringify(sent(change)).length - without.length).toBeLessThan(2_200);
    expect(without).not.toContain('rules');
    expect(readConnectionChange(JSON.parse(without), 1_000)).toEqual({ ...change, rules: new Map() });
  });

  test('contains the channels that its sign-in may have, if the stream should continue with that sign-in', () => {
    const rules = new Map([['b', ruleOf('b')]]);
    const renewal = { granted: ['a', 'b'], denied: ['c'], rules };
    expect(readConnectionChange(sent({ ...CHANGE, renewal }), 10)).toEqual({ ...CHANGE, renewal });
  });

  test.each([
    ['nothing', undefined],
    ['a list', []],
    ['no connection', { ...CHANGE, connection: undefined }],
    ['a long connection', { ...CHANGE, connection: 'c'.repeat(101) }],
    ['no sign-in', { ...CHANGE, auth: undefined }],
    ['a sign-in without a user', { ...CHANGE, auth: { authId: 'phone' } }],
    ['a sign-in of another type', { ...CHANGE, auth: ['ada'] }],
    ['a sign-in with scopes of another type', { ...CHANGE, auth: { userId: 'ada', scopes: [7] } }],
    ['a name too many', { ...CHANGE, subscribe: names(11) }],
    ['a long name', { ...CHANGE, subscribe: ['n'.repeat(256)] }],
    ['a name of another type', { ...CHANGE, subscribe: [{ channel: 'a' }] }],
    ['an object with a length', { ...CHANGE, subscribe: { length: 1e9 } }],
    ['too many names to unsubscribe from', { ...CHANGE, unsubscribe: names(MAX_UNSUBSCRIBED + 1) }],
    ['nothing to unsubscribe from', { ...CHANGE, unsubscribe: null }],
    ['more positions than channels', { ...CHANGE, positions: [null, null] }],
    ['positions in an object with a length', { ...CHANGE, positions: { length: 1 } }],
    ['a position without an offset', { ...CHANGE, positions: [['epoch']] }],
    ['a position with an offset of another type', { ...CHANGE, positions: [['epoch', '1']] }],
    ['a position with a long epoch', { ...CHANGE, positions: [['e'.repeat(129), 1]] }],
    ['of no age', { ...CHANGE, age: undefined }],
    ['of an age of another type', { ...CHANGE, age: { tookMs: '7' } }],
    ['of a negative age', { ...CHANGE, age: { tookMs: -1 } }],
    ['of an age with an invalid end', { ...CHANGE, age: { tookMs: 7, after: null } }],
    ['a position of three parts', { ...CHANGE, positions: [['epoch', 1, 2]] }],
    ['a rule too few', { ...CHANGE, rules: { all: [ruleOf('a')], of: [] } }],
    ['a rule too many', { ...CHANGE, rules: { all: [ruleOf('a')], of: [0, 0] } }],
    ['more rules than channels', { ...CHANGE, rules: { all: [ruleOf('a'), ruleOf('b')], of: [0] } }],
    ['a rule that its table lacks', { ...CHANGE, rules: { all: [ruleOf('a')], of: [1] } }],
    ['a rule without a number', { ...CHANGE, rules: { all: [ruleOf('a')], of: ['length'] } }],
    ['rules in an object with a length', { ...CHANGE, rules: { all: { 0: ruleOf('a'), length: 1 }, of: [0] } }],
    ['a rule without names', { ...CHANGE, rules: { all: [{ scopes: [], authorizers: [] }], of: [0] } }],
    ['a rule with a long name', { ...CHANGE, rules: { all: [ruleOf('n'.repeat(256))], of: [0] } }],
    ['a rule with a scope of another type', { ...CHANGE, rules: { all: [{ ...ruleOf('a'), scopes: [7] }], of: [0] } }],
    ['a rule without authorizers', { ...CHANGE, rules: { all: [{ names: [], scopes: [] }], of: [0] } }],
    [
      'a renewal with rules without a table',
      { ...CHANGE, renewal: { granted: ['a'], denied: [], rules: { of: [0] } } },
    ],
    ['a renewal without lists', { ...CHANGE, renewal: {} }],
    ['a renewal of too many names', { ...CHANGE, renewal: { granted: names(11), denied: [] } }],
    ['a renewal of an invalid name', { ...CHANGE, renewal: { granted: [], denied: [1] } }],
  ])('is refused if it is %s', (_what, change) => {
    expect(() => readConnectionChange(change, 10)).toThrow(InvalidMessageError);
  });
});

describe('The answer to a change', () => {
  test('is one outcome for each channel, or nothing', () => {
    const errors = [undefined, 'CHANNEL_DENIED', 'INVALID_CHANNEL', 'LIMIT_EXCEEDED'] as const;
    const outcome = { errors, isRenewed: false, order: 0 };
    // Like the reading of older nodes, which do not ask for a renewal.
    expect(writeChangeOutcome(outcome)).toEqual([0, 1, 2, 3]);
    expect(readChangeOutcome(writeChangeOutcome(outcome), 4)).toEqual(outcome);
    expect(writeChangeOutcome(null)).toBeNull();
    expect(readChangeOutcome([], 0)).toEqual({ errors: [], isRenewed: false, order: 0 });
    expect(readChangeOutcome(null, 4)).toBeNull();
  });

  test('contains whether the sign-in was renewed', () => {
    const outcome = { errors: [undefined, 'CHANNEL_DENIED'], isRenewed: true, order: 3 } as const;
    expect(readChangeOutcome(JSON.parse(JSON.stringify(writeChangeOutcome(outcome))), 2)).toEqual(outcome);
  });

  test('names the channels that need another decision, and the last end that they know', () => {
    const outcome = { errors: [undefined, 'OVERRULED'], isRenewed: false, order: 3 } as const;
    expect(readChangeOutcome(JSON.parse(JSON.stringify(writeChangeOutcome(outcome))), 2)).toEqual(outcome);
  });

  test.each([
    ['nothing', undefined, 1],
    ['an object with a length', { length: 1e9 }, 1],
    ['too short', [0], 2],
    ['too long', [0, 0], 1],
    ['an unknown outcome', [5], 1],
    ['a text', ['0'], 1],
    ['an object', [{}], 1],
    ['renewed without outcomes', { renewed: true }, 1],
    ['with an invalid renewal', { errors: [0], renewed: 1, order: 1 }, 1],
    ['overruled without an order', { errors: [4], renewed: false }, 1],
  ])('is refused if it is %s', (_what, answer, count) => {
    expect(() => readChangeOutcome(answer, count)).toThrow(InvalidMessageError);
  });
});
