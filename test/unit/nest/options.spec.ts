import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { ConfigurationError } from 'nestjs-messaging';
import ts from 'typescript';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { checkExtras, resolveOptions } from '../../../lib/nest/validate-options.js';

const LIB = new URL('../../../lib/', import.meta.url);
const PAGE = readFileSync(new URL('../../../docs/options.md', import.meta.url), 'utf8');

/** The properties of an interface, each with its default, but for internal ones. */
function propertiesOf(file: string, name: string): Map<string, string | undefined> {
  const source = ts.createSourceFile(file, readFileSync(new URL(file, LIB), 'utf8'), ts.ScriptTarget.Latest, true);
  const found = source.statements.find(
    (statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === name,
  ) as ts.InterfaceDeclaration;
  return new Map(
    found.members.flatMap((member): [string, string | undefined][] => {
      const tags = ts.getJSDocTags(member);
      if (tags.some(({ tagName }) => tagName.text === 'internal')) return [];
      const tag = tags.find(({ tagName }) => tagName.text === 'defaultValue');
      return [[member.name!.getText(source), tag && ts.getTextOfJSDocComment(tag.comment)]];
    }),
  );
}

/** The rows of the table under a heading: option and default. */
function rowsUnder(heading: string): Map<string, string> {
  const [, after = ''] = PAGE.split(new RegExp(`^#+ \`${heading}\`$`, 'm'));
  const [section = ''] = after.split(/^#/m);
  return new Map(
    [...section.matchAll(/^\| `(\w+)` .*\| +([^|]*?) *\|$/gm)].map(([, option, value]) => [option!, value!]),
  );
}

const TABLES: [heading: string, of: [file: string, name: string][]][] = [
  [
    'MessagingModule.forRoot',
    [
      ['nest/messaging-options.ts', 'MessagingOptions'],
      ['nest/messaging-options.ts', 'MessagingModuleExtras'],
    ],
  ],
  ['redis', [['transport/redis-options.ts', 'RedisTransportOptions']]],
  ['revocation', [['nest/messaging-options.ts', 'RevocationOptions']]],
  ['sse', [['nest/messaging-options.ts', 'SseOptions']]],
  ['limits', [['protocol/limits.ts', 'Limits']]],
  ['gateway', [['nest/gateway/gateway-options.ts', 'GatewayOptions']]],
  ['classTransformer', [['nest/messaging-options.ts', 'ClassTransformerOptions']]],
  ['classValidator', [['nest/messaging-options.ts', 'ClassValidatorOptions']]],
  ['defineChannel', [['protocol/channel-definition.ts', 'ChannelOptions']]],
  ['history', [['protocol/channel-definition.ts', 'HistoryOptions']]],
  ['@Sse', [['nest/sse.decorator.ts', 'SseRouteOptions']]],
  ['new MessagingClient', [['client/client-options.ts', 'MessagingClientOptions']]],
];

const optionsOf = (of: [file: string, name: string][]): Map<string, string | undefined> =>
  new Map(of.flatMap(([file, name]) => [...propertiesOf(file, name)]));

describe('docs/options.md', () => {
  test.each(TABLES)('lists the options of %s, and no others', (heading, of) => {
    expect([...rowsUnder(heading).keys()]).toEqual([...optionsOf(of).keys()]);
  });

  test.each(TABLES)('gives the defaults of %s that are numbers as their docstrings do', (heading, of) => {
    const rows = rowsUnder(heading);
    for (const [option, value] of optionsOf(of)) {
      const number = /^[\d_]+/.exec(value ?? '')?.[0];
      if (number === undefined) continue;
      expect([option, rows.get(option)]).toEqual([
        option,
        expect.stringMatching(`^${Number(number.replaceAll('_', '')).toLocaleString('en')}`),
      ]);
    }
  });
});

describe('Defaults in docstrings', () => {
  test.each([
    ['sse', 'nest/messaging-options.ts', 'SseOptions'],
    ['limits', 'protocol/limits.ts', 'Limits'],
  ] as const)('of %s are those that apply', (group, file, name) => {
    const applied = Object.entries(resolveOptions({})[group]).filter(([, value]) => value !== undefined);
    const written = propertiesOf(file, name);
    const numberOf = (option: string) => Number(/^[\d_]*/.exec(written.get(option) ?? '')![0].replaceAll('_', ''));
    expect(applied).toEqual(applied.map(([option]) => [option, numberOf(option)]));
  });
});

describe('Each option of the module', () => {
  // Nothing takes a bigint.
  const wrong = 0n;

  test('is checked', () => {
    const { resolve, extras } = { resolve: optionsOf([TABLES[0]![1][0]!]), extras: optionsOf([TABLES[0]![1][1]!]) };
    for (const option of resolve.keys()) {
      expect(() => resolveOptions({ [option]: wrong } as never)).toThrow(ConfigurationError);
      expect(() => resolveOptions({ [option]: wrong } as never)).toThrow(option);
    }
    for (const option of extras.keys()) expect(() => checkExtras({ [option]: wrong })).toThrow(option);
  });

  test.each(TABLES.slice(1, 7))('in %s is checked', (group, of) => {
    const check = (options: object): unknown =>
      group === 'gateway' ? checkExtras(options) : resolveOptions(options as never);
    for (const option of optionsOf(of).keys()) {
      expect(() => check({ [group]: { [option]: wrong } })).toThrow(ConfigurationError);
      expect(() => check({ [group]: { [option]: wrong } })).toThrow(option);
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
  ])('that is a number has bounds and a unit, which the error names: %j', (gateway, text) => {
    expect(() => checkExtras({ gateway })).toThrow(`option ${text}`);
  });

  test('that is a number may be as large as its bound', () => {
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
  ])('that is a secret is one that nobody guesses, and no error shows it: %j', (secret, text) => {
    expect(() => resolveOptions({ secret } as never)).toThrow(ConfigurationError);
    expect(() => resolveOptions({ secret } as never)).toThrow(text);
    expect(() => resolveOptions({ secret } as never)).not.toThrow(/aaa|sesame|short/);
  });

  test('that is a secret may be one or several', () => {
    for (const secret of ['a'.repeat(32), ['a'.repeat(32), 'b'.repeat(44)]]) {
      expect(() => resolveOptions({ secret })).not.toThrow();
    }
  });

  test('in a transport of the application that it may have is a function', () => {
    const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { hearers: 'no' });
    expect(() => resolveOptions({ transport })).toThrow(
      'option "transport" must be a Transport (its "hearers" is no method)',
    );
    expect(() => resolveOptions({ transport: Object.assign(transport, { hearers: undefined }) })).not.toThrow();
  });
});
