// Keeps the lists of docs/options.md equal to the types.
//
//   node site/options.mjs            writes them
//   node site/options.mjs --check    fails if they are not equal
import { readFileSync, writeFileSync } from 'node:fs';
import prettier from 'prettier';
import { anchorOf } from './anchor.mjs';
import { optionsOf, takenOptions } from './option-types.mjs';

const PAGE = new URL('../docs/options.md', import.meta.url);
/** A list stands between `<!-- options: PostOptions -->` and `<!-- end -->`. It may be of several types, and of another entry than the first. */
const LIST = /<!-- options: ([\w, ]+?)(?: of ([\w/-]+))? -->\n[^]*?<!-- end -->/g;

const before = readFileSync(PAGE, 'utf8');
const lists = listsOf(before);
const titles = new Map(lists.flatMap(({ title, own }) => own.map(({ declaration }) => [declaration, title])));

const problems = [...lists.flatMap(({ own }) => own.flatMap(problemOf)), ...missingFrom(titles)];
if (problems.length > 0) give(problems.join('\n'));

let index = 0;
const written = before.replace(
  LIST,
  (block) => `${block.split('\n')[0]}\n\n${contentOf(lists[index++])}\n\n<!-- end -->`,
);
const after = await prettier.format(written, { ...(await prettier.resolveConfig(PAGE)), parser: 'markdown' });

if (after === before) console.log('docs/options.md lists the options as the types have them.');
else if (process.argv.includes('--check')) {
  give(
    'docs/options.md does not list the options as the types have them. Run `npm run docs:options`, and commit the page.',
  );
} else {
  writeFileSync(PAGE, after);
  console.log('docs/options.md is written anew.');
}

/** The lists of a page with their headings. An option belongs to the first one that has it; later ones refer to that. */
function listsOf(page) {
  const known = new Set();
  return [...page.matchAll(LIST)].map(({ 1: names, 2: entry, index: offset }) => {
    const [, title] = [...page.slice(0, offset).matchAll(/^#+ (.+)$/gm)].at(-1);
    const options = names.split(', ').flatMap((name) => optionsOf(name, entry));
    const own = options.filter(({ declaration }) => !known.has(declaration));
    const others = options.filter(({ declaration }) => known.has(declaration));
    for (const { declaration } of own) known.add(declaration);
    return { title, own, others };
  });
}

function problemOf({ owner, name, description, isOptional, takesUndefined, defaultValue, inner }) {
  if (description === '') return [`${owner}.${name} has no description`];
  if (isOptional && !takesUndefined) return [`${owner}.${name} is optional, and its type does not take undefined`];
  const isExplained = !isOptional || defaultValue !== undefined || inner.length > 0;
  return isExplained ? [] : [`${owner}.${name} has no @defaultValue`];
}

function missingFrom(listed) {
  const missing = [...takenOptions()].filter(({ declaration }) => !listed.has(declaration));
  const places = new Set(missing.map(({ call, owner, name }) => `${owner}.${name}, which ${call} takes`));
  return [...places].map((place) => `docs/options.md does not list ${place}`);
}

function contentOf({ own, others }) {
  return [...(own.length > 0 ? [listOf(own)] : []), ...referencesTo(others)].join('\n\n');
}

function listOf(options) {
  const items = options.map(({ name, type, description, defaultValue, inner }) => {
    const details = titles.get(inner[0]);
    const see = details === undefined ? '' : `, see [${details}](#${anchorOf(details)})`;
    const isRequired = defaultValue === undefined && see === '';
    const standard = isRequired ? ', required' : defaultValue && `, default ${valueText(defaultValue)}`;
    return `- **\`${name}\`**: \`${type}\`${see}${standard ?? ''}. ${description}`;
  });
  return items.join('\n');
}

/** A default that begins with a value has that as code, and so have texts and long numbers further on. */
function valueText(text) {
  return text
    .split(/(`[^`]*`)/)
    .map((part) => (part.startsWith('`') ? part : part.replace(/('[^'\s]*'|\d+_[\d_]+)/g, '`$1`')))
    .join('')
    .replace(/^(\d+|true|false|[A-Z]\w*\.\w+)(?=$|[\s,;:])/, '`$1`');
}

/** A sentence for the options of each list further up. */
function referencesTo(options) {
  return [...new Set(titles.values())].flatMap((title) => {
    const those = options.filter(({ declaration }) => titles.get(declaration) === title);
    if (those.length === 0) return [];
    return [`As in [${title}](#${anchorOf(title)}): ${those.map(({ name }) => `\`${name}\``).join(', ')}.`];
  });
}

function give(text) {
  console.error(text);
  process.exit(1);
}
