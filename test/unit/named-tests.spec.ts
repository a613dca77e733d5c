import { describe, expect, test } from '@jest/globals';
import { readFileSync, readdirSync } from 'node:fs';
import ts from 'typescript';

// Documents with guarantees name the tests that show them.

const ROOT = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');

const filesIn = (folder: string): string[] =>
  readdirSync(new URL(folder, ROOT), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => `${folder}/${file}`);

/** A test by the path of its file and its name. */
type TestName = readonly [path: string, name: string];

/** A guarantee, and the tests that show it. */
interface Promised {
  readonly text: string;
  readonly tests: readonly TestName[];
}

/** The texts in a file that name tests, and the tests that they name. */
function namesIn(path: string): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) {
      const [name] = node.arguments;
      if (name !== undefined && ts.isStringLiteralLike(name)) names.add(name.text);
    }
    // Rows of `test.each` whose names begin with `%s` name tests too.
    if (ts.isArrayLiteralExpression(node)) {
      const [name] = node.elements;
      if (name !== undefined && ts.isStringLiteralLike(name)) names.add(name.text);
    }
    // Published suites are objects of tests by name.
    if (ts.isPropertyAssignment(node) && ts.isStringLiteralLike(node.name)) names.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('spec.ts', read(path), ts.ScriptTarget.Latest, true));
  return names;
}

/** The tests named in a text: `path` "name", "name". */
function testsIn(text: string): TestName[] {
  return [...text.matchAll(/`((?:test|lib\/testing)\/[^`]+)`((?:,? "[^"]+")+)/g)].flatMap(([, path, names]) =>
    [...names!.matchAll(/"([^"]+)"/g)].map(([, name]) => [path!, name!] as const),
  );
}

/** Guarantees whose tests do not exist, in words. */
function missingOf(promises: readonly Promised[]): string[] {
  const known = new Map<string, Set<string>>();
  return promises.flatMap(({ text, tests }) =>
    tests
      .filter(([path, name]) => {
        const names = known.get(path) ?? namesIn(path);
        known.set(path, names);
        return !names.has(name);
      })
      .map(([path, name]) => `${text.slice(0, 60)}: "${name}" in ${path}`),
  );
}

/** The lines of the table of docs/delivery.md. */
function deliveries(): Promised[] {
  const [, table = ''] = read('docs/delivery.md').split('## Who gets what');
  const lines = table.split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((text) => {
    const cells = text.split('|').map((cell) => cell.trim());
    return { text: cells[1]!, tests: testsIn(cells.at(-2)!) };
  });
}

/** The paragraphs, items of lists and lines of tables of docs/protocol.md. */
function rules(): Promised[] {
  const blocks = read('docs/protocol.md').split(/\n(?=\n|[|#]|- |\d+\. )/);
  return blocks.map((block) => ({ text: block.trim(), tests: testsIn(block) }));
}

test('Each line of docs/delivery.md names tests that exist', () => {
  const lines = deliveries();
  expect(lines.length).toBeGreaterThan(15);
  expect(lines.filter(({ tests }) => tests.length === 0)).toEqual([]);
  expect(missingOf(lines)).toEqual([]);
});

describe('docs/protocol.md', () => {
  test('names tests that exist, for each MUST', () => {
    const musts = rules().filter(({ text }) => text.includes('MUST') && !text.startsWith('1.1.'));
    expect(musts.length).toBeGreaterThan(60);
    expect(musts.filter(({ tests }) => tests.length === 0).map(({ text }) => text)).toEqual([]);
    expect(missingOf(rules())).toEqual([]);
  });

  test('has a section for each event of the library, and a line for each channel, packet and question', () => {
    const text = read('docs/protocol.md');
    const events = new Set(
      ['lib/sse', 'lib/gateway']
        .flatMap(filesIn)
        .flatMap((path) => [...read(path).matchAll(/event(?::|\() ?'(messaging:[a-z]+)'/g)].map(([, event]) => event!)),
    );
    expect(events.size).toBeGreaterThan(9);
    const headings = text.split('\n').filter((line) => line.startsWith('#'));
    expect([...events].filter((event) => !headings.some((heading) => heading.includes(`\`${event}\``)))).toEqual([]);

    const channels = filesIn('lib').flatMap((path) =>
      [...read(path).matchAll(/reservedChannel(?:<\w+>)?\(['`](?:\$\{[\w.]+\})?([a-z]+)/g)].map(([, name]) => name!),
    );
    expect(channels.length).toBeGreaterThan(5);
    expect(channels.filter((name) => !text.includes(`\`messaging:${name}`))).toEqual([]);

    const packets = [...read('lib/core/node-packet.ts').matchAll(/readonly kind: '(\w+)'/g)].map(([, kind]) => kind!);
    expect(packets.length).toBeGreaterThan(3);
    expect(packets.filter((kind) => !text.includes(`kind: "${kind}"`))).toEqual([]);
    const [, asked = ''] = /const \{ ([\w, ]+) \} = readObject\(question,/.exec(read('lib/gateway/gateway.ts')) ?? [];
    expect(asked.split(', ').filter((question) => !text.includes(`\n| \`${question}\` `))).toEqual([]);
  });
});
