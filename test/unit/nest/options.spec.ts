import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { ConfigurationError } from 'nestjs-messaging';
import { RevocationList } from '../../../lib/core/revocation-list.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { GATEWAY_DEFAULTS } from '../../../lib/nest/gateway/gateway-options.js';
import { checkExtras, resolveOptions } from '../../../lib/nest/validate-options.js';

const PAGE = readFileSync(new URL('../../../docs/options.md', import.meta.url), 'utf8');

/** The groups of options of `forRoot`, by the headings of the page. */
const GROUPS = ['redis', 'revocation', 'sse', 'limits', 'gateway', 'classTransformer', 'classValidator'] as const;

/**
 * The options under a heading of docs/options.md, each with its default if that is a number.
 * test/package/documents.spec.ts holds the page against the types.
 */
function optionsOf(heading: string): Map<string, number | undefined> {
  const [, after = ''] = PAGE.split(new RegExp(`^#+ \`${heading}\`$`, 'm'));
  const [section = ''] = after.split(/^#/m);
  const options = [...section.matchAll(/^- \*\*`(\w+)`\*\*: .*$/gm)].map(
    ([item, option]): [string, number | undefined] => {
      const [, number] = /, default `([\d_]+)`/.exec(item) ?? [];
      return [option!, number === undefined ? undefined : Number(number.replaceAll('_', ''))];
    },
  );
  expect(options).not.toEqual([]);
  return new Map(options);
}

const isGiven = ([, value]: [string, unknown]): boolean => value !== undefined;

describe('The defaults in docs/options.md', () => {
  const resolved = resolveOptions({});

  test.each<[group: string, applied: object]>([
    ['sse', resolved.sse],
    ['limits', resolved.limits],
    ['gateway', GATEWAY_DEFAULTS],
    ['revocation', { ttlMs: new RevocationList().ttlMs }],
  ])('of %s are the real ones', (group, applied) => {
    expect([...optionsOf(group)].filter(isGiven)).toEqual(Object.entries(applied).filter(isGiven));
  });
});

describe('Each option of the module', () => {
  // No option accepts a bigint.
  const wrong = 0n;

  test('is checked', () => {
    for (const option of optionsOf('MessagingModule.forRoot').keys()) {
      const check = ['scope', 'global', 'gateway'].includes(option) ? checkExtras : resolveOptions;
      expect(() => check({ [option]: wrong } as never)).toThrow(ConfigurationError);
      expect(() => check({ [option]: wrong } as never)).toThrow(option);
    }
  });

  test.each(GROUPS)('in %s is checked', (group) => {
    const check = group === 'gateway' ? checkExtras : resolveOptions;
    for (const option of optionsOf(group).keys()) {
      expect(() => check({ [group]: { [option]: wrong } } as never)).toThrow(ConfigurationError);
      expect(() => check({ [group]: { [option]: wrong } } as never)).toThrow(option);
    }
  });

  test.each<[object, string]>([
    [
      { recoveryMs: 2 ** 31 },
      '"recoveryMs" must be a whole number of at most 2147483647, in milliseconds, not 2147483648',
    ],
    [{ recoveryMs: '5s' }, '"recoveryMs" must be a whole number of at least 0, in milliseconds, not "5s"'],
    [{ recoveryBytes: '16 MiB' }, '"recoveryBytes" must be a whole number of at least 0, in bytes, not "16 MiB"'],
    [{ recoveryBytes: 2 ** 53 }, '"recoveryBytes" must be a whole number of at most 9007199254740991, in bytes, not'],
    [{ maxRecoveriesAtOnce: 0 }, '"maxRecoveriesAtOnce" must be a whole number of at least 1, not 0'],
    [{ maxAuthorizers: Infinity }, '"maxAuthorizers" must be a whole number of at least 1, not Infinity'],
  ])('that is a number has limits and a unit, named by the error: %j', (gateway, text) => {
    expect(() => checkExtras({ gateway })).toThrow(`option ${text}`);
  });

  test.each(GROUPS)('in %s names itself if it is given a symbol', (group) => {
    const check = group === 'gateway' ? checkExtras : resolveOptions;
    for (const option of optionsOf(group).keys()) {
      // One of Nest's versions is a symbol.
      if (option === 'version' && group === 'gateway') continue;
      expect(() => check({ [group]: { [option]: Symbol('s') } } as never)).toThrow(ConfigurationError);
      expect(() => check({ [group]: { [option]: Symbol('s') } } as never)).toThrow(option);
    }
  });

  test('names itself if its value cannot be read', () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    for (const option of optionsOf('MessagingModule.forRoot').keys()) {
      const check = ['scope', 'global', 'gateway'].includes(option) ? checkExtras : resolveOptions;
      expect(() => check({ [option]: proxy } as never)).toThrow(ConfigurationError);
      expect(() => check({ [option]: proxy } as never)).toThrow(option);
    }
    const unreadable = {
      toString() {
        throw new Error('unreadable');
      },
    };
    for (const gateway of [{ timeoutMs: unreadable }, { guards: [proxy] }]) {
      expect(() => checkExtras({ gateway } as never)).toThrow(ConfigurationError);
    }
  });

  test.each([NaN, Infinity, -Infinity])('that is the version of a class is a finite number, not %p', (version) => {
    expect(() => resolveOptions({ classTransformer: { version } })).toThrow(
      `classTransformer: option "version" must be a finite number, not ${version}`,
    );
  });

  test.each<[object, string]>([
    [{ guards: [7] }, 'guards[0] must be a guard, not 7'],
    [
      { origins: ['https://app.example', 'x'] },
      'origins[1] must be an origin as browsers write it, as "https://app.example", not "x"',
    ],
  ])('that is an array names the wrong item: %j', (gateway, text) => {
    expect(() => checkExtras({ gateway })).toThrow(`MessagingModule: gateway: ${text}`);
  });

  test('that is a number may be as large as its limit', () => {
    const gateway = { recoveryMs: 2 ** 31 - 1, recoveryBytes: Number.MAX_SAFE_INTEGER };
    expect(() => checkExtras({ gateway })).not.toThrow();
  });

  test.each<[unknown, string]>([
    ['short', 'it has 5'],
    [[], 'it has 0'],
    [['a'.repeat(32), 'a'.repeat(32)], 'twice'],
    [['a'.repeat(32), 'sesame'], 'item 1 has 6'],
    [['a'.repeat(32), undefined], 'item 1 is no string, but undefined'],
    [`${'a'.repeat(32)}\n`, 'ends with white space'],
    [Array.from({ length: 11 }, (_, index) => `${'a'.repeat(32)}${index}`), 'it has 11'],
  ])('that is a secret must be hard to guess, and no error contains it: %j', (secret, text) => {
    expect(() => resolveOptions({ secret } as never)).toThrow(ConfigurationError);
    expect(() => resolveOptions({ secret } as never)).toThrow(text);
    expect(() => resolveOptions({ secret } as never)).not.toThrow(/aaa|sesame|short/);
  });

  test('that is a secret may be one or several', () => {
    for (const secret of ['a'.repeat(32), ['a'.repeat(32), 'b'.repeat(44)]]) {
      expect(() => resolveOptions({ secret })).not.toThrow();
    }
  });

  test('may be undefined, and then has its default', () => {
    const options = [...optionsOf('MessagingModule.forRoot').keys()].map((option) => [option, undefined]);
    expect(resolveOptions(Object.fromEntries(options) as object)).toEqual(resolveOptions({}));
  });

  test('is a function if it is an optional method of a transport', () => {
    for (const method of ['hearers', 'catchUp', 'settled']) {
      const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { [method]: 'no' });
      expect(() => resolveOptions({ transport })).toThrow(
        `option "transport" must be a Transport (its "${method}" is no method)`,
      );
      expect(() => resolveOptions({ transport: Object.assign(transport, { [method]: undefined }) })).not.toThrow();
    }
  });

  test.each([
    [null, 'it has no method "append"'],
    ['redis', 'it has no method "append"'],
    [{ ...new MemoryTransport(new MemoryBroker()).history, read: undefined }, 'it has no method "read"'],
    [{ ...new MemoryTransport(new MemoryBroker()).history, changes: 5 }, 'its "changes" is no method'],
  ])('is a store if it is the history of a transport, not %p', (history, problem) => {
    const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { history: history as never });
    expect(() => resolveOptions({ transport })).toThrow(
      `option "transport" must be a Transport (its "history" is no HistoryStore: ${problem})`,
    );
    expect(() => resolveOptions({ transport: Object.assign(transport, { history: undefined }) })).not.toThrow();
  });
});
