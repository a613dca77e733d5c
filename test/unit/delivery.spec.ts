import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import ts from 'typescript';

const ROOT = new URL('../../', import.meta.url);

/** The texts that name tests, and what they describe, in a file. */
function namesIn(file: URL): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) {
      const [name] = node.arguments;
      if (name !== undefined && ts.isStringLiteralLike(name)) names.add(name.text);
    }
    // The rows of `test.each` whose names begin with `%s` name tests too.
    if (ts.isArrayLiteralExpression(node)) {
      const [name] = node.elements;
      if (name !== undefined && ts.isStringLiteralLike(name)) names.add(name.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('spec.ts', readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true));
  return names;
}

/** What each line of the table is shown by: the path of a test and its name. */
function shownBy(): { line: string; tests: (readonly [path: string, name: string])[] }[] {
  const [, table = ''] = readFileSync(new URL('docs/delivery.md', ROOT), 'utf8').split('## Who gets what');
  const lines = table.split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((text) => {
    const cells = text.split('|').map((cell) => cell.trim());
    const tests = [...cells.at(-2)!.matchAll(/`(test\/[^`]+)`((?:,? "[^"]+")+)/g)].flatMap(([, path, names]) =>
      [...names!.matchAll(/"([^"]+)"/g)].map(([, name]) => [path!, name!] as const),
    );
    return { line: cells[1]!, tests };
  });
}

test('Each line of what is delivered, in docs/delivery.md, names tests that exist', () => {
  const lines = shownBy();
  expect(lines.length).toBeGreaterThan(15);
  expect(lines.filter(({ tests }) => tests.length === 0)).toEqual([]);
  const known = new Map<string, Set<string>>();
  const missing = lines.flatMap(({ line, tests }) =>
    tests
      .filter(([path, name]) => {
        const names = known.get(path) ?? namesIn(new URL(path, ROOT));
        known.set(path, names);
        return !names.has(name);
      })
      .map(([path, name]) => `${line}: "${name}" in ${path}`),
  );
  expect(missing).toEqual([]);
});
