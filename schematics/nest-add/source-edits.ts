import type TypeScript from 'typescript';

/** The API of the compiler, of whichever version the project has. */
export type Compiler = typeof TypeScript;

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** What goes into a module file: names to import, and elements of the module's `imports`, which may begin with a line of comment. */
export interface ModuleAddition {
  readonly imports: readonly { readonly name: string; readonly from: string }[];
  readonly elements: readonly string[];
}

function parse(ts: Compiler, text: string): TypeScript.SourceFile {
  return ts.createSourceFile('file.ts', text, ts.ScriptTarget.Latest, true);
}

/** Applies edits that do not overlap, with the line ends of the file. */
function applyEdits(source: string, edits: Edit[]): string {
  const lineEnd = source.includes('\r\n') ? '\r\n' : '\n';
  return edits
    .toSorted((a, b) => b.start - a.start)
    .reduce(
      (text, edit) => text.slice(0, edit.start) + edit.text.replaceAll('\n', lineEnd) + text.slice(edit.end),
      source,
    );
}

function findNode<T extends TypeScript.Node>(
  ts: Compiler,
  root: TypeScript.Node,
  matches: (node: TypeScript.Node) => node is T,
): T | undefined {
  if (matches(root)) return root;
  return ts.forEachChild(root, (child) => findNode(ts, child, matches));
}

function importDeclarations(ts: Compiler, file: TypeScript.SourceFile): TypeScript.ImportDeclaration[] {
  return file.statements.filter((statement) => ts.isImportDeclaration(statement));
}

function specifierOf(ts: Compiler, declaration: TypeScript.ImportDeclaration): string {
  return ts.isStringLiteral(declaration.moduleSpecifier) ? declaration.moduleSpecifier.text : '';
}

/** The specifiers of a file's relative imports, as they are written. */
export function relativeImports(ts: Compiler, text: string): string[] {
  return importDeclarations(ts, parse(ts, text))
    .map((declaration) => specifierOf(ts, declaration))
    .filter((specifier) => specifier.startsWith('.'));
}

/** `NestFactory.create…(…)` */
function isFactoryCall(ts: Compiler, node: TypeScript.Node): node is TypeScript.CallExpression {
  return (
    ts.isCallExpression(node) &&
    ts.isPropertyAccessExpression(node.expression) &&
    node.expression.expression.getText() === 'NestFactory' &&
    node.expression.name.text.startsWith('create')
  );
}

/** The class that a main file creates its application from, and the specifier of its import if it has one. */
export function rootModuleOf(ts: Compiler, text: string): { name: string; specifier: string | undefined } | undefined {
  const file = parse(ts, text);
  const argument = findNode(ts, file, (node): node is TypeScript.CallExpression => isFactoryCall(ts, node))
    ?.arguments[0];
  if (argument === undefined || !ts.isIdentifier(argument)) return undefined;
  const declaration = importDeclarations(ts, file).find(({ importClause }) => {
    const bindings = importClause?.namedBindings;
    if (importClause?.name?.text === argument.text) return true;
    return (
      bindings !== undefined &&
      ts.isNamedImports(bindings) &&
      bindings.elements.some(({ name }) => name.text === argument.text)
    );
  });
  return { name: argument.text, specifier: declaration && specifierOf(ts, declaration) };
}

/**
 * A main file in which the application enables its shutdown hooks. `undefined` if the file does not await
 * `NestFactory.create…()` and give the result a name.
 */
export function withShutdownHooks(ts: Compiler, text: string, comment: string): string | undefined {
  const file = parse(ts, text);
  if (/\.enableShutdownHooks\(/.test(text)) return text;
  const awaited = findNode(
    ts,
    file,
    (node): node is TypeScript.AwaitExpression => ts.isAwaitExpression(node) && isFactoryCall(ts, node.expression),
  );
  const name = awaited && nameGivenTo(ts, awaited);
  if (name === undefined) return undefined;
  let statement: TypeScript.Node = name.parent;
  while (!ts.isBlock(statement.parent) && !ts.isSourceFile(statement.parent)) {
    if (ts.isFunctionLike(statement)) return undefined;
    statement = statement.parent;
  }
  const indent = indentAt(text, statement.getStart());
  const added = `\n${indent}${comment}\n${indent}${name.text}.enableShutdownHooks();`;
  return applyEdits(text, [{ start: statement.end, end: statement.end, text: added }]);
}

/** The variable that gets exactly this value, by declaration or assignment. */
function nameGivenTo(ts: Compiler, value: TypeScript.Expression): TypeScript.Identifier | undefined {
  let holder = value.parent;
  while (ts.isParenthesizedExpression(holder) || ts.isAsExpression(holder) || ts.isSatisfiesExpression(holder)) {
    holder = holder.parent;
  }
  if (ts.isVariableDeclaration(holder)) return ts.isIdentifier(holder.name) ? holder.name : undefined;
  if (!ts.isBinaryExpression(holder) || holder.operatorToken.kind !== ts.SyntaxKind.EqualsToken) return undefined;
  return ts.isIdentifier(holder.left) ? holder.left : undefined;
}

/** A module file with the addition. `undefined` if no `@Module()` in it has `imports` that are an array, or none at all. */
export function withModules(
  ts: Compiler,
  text: string,
  moduleClass: string | undefined,
  addition: ModuleAddition,
): string | undefined {
  const file = parse(ts, text);
  const metadata = moduleMetadata(ts, file, moduleClass);
  const edit = metadata && elementEdits(ts, text, metadata, addition.elements);
  return edit && applyEdits(text, [importEdit(ts, file, addition), ...edit]);
}

/** The parentheses' content of the `@Module()` of that class, or of the first class that has one. */
function moduleMetadata(
  ts: Compiler,
  file: TypeScript.SourceFile,
  moduleClass: string | undefined,
): TypeScript.ObjectLiteralExpression | undefined {
  const decorated = file.statements
    .filter((statement) => ts.isClassDeclaration(statement))
    .map((declaration) => ({
      name: declaration.name?.text,
      call: ts
        .getDecorators(declaration)
        ?.map(({ expression }) => expression)
        .find((expression) => ts.isCallExpression(expression) && expression.expression.getText() === 'Module'),
    }))
    .filter(({ call }) => call !== undefined);
  const { call } = decorated.find(({ name }) => name === moduleClass) ?? decorated[0] ?? {};
  const argument = call && ts.isCallExpression(call) ? call.arguments[0] : undefined;
  return argument && ts.isObjectLiteralExpression(argument) ? argument : undefined;
}

function elementEdits(
  ts: Compiler,
  text: string,
  metadata: TypeScript.ObjectLiteralExpression,
  elements: readonly string[],
): Edit[] | undefined {
  const property = metadata.properties.find(
    ({ name }) => name !== undefined && /^['"]?imports['"]?$/.test(name.getText()),
  );
  if (property === undefined) {
    const indent = indentAt(text, metadata.getStart());
    const step = '  ';
    const start = metadata.getStart() + 1;
    const added = linesOf(elements, indent + step + step);
    const rest = metadata.properties.length === 0 ? `\n${indent}` : '';
    return [{ start, end: start, text: `\n${indent}${step}imports: [${added}\n${indent}${step}],${rest}` }];
  }
  if (!ts.isPropertyAssignment(property) || !ts.isArrayLiteralExpression(property.initializer)) return undefined;
  const list = property.initializer;
  const indent = indentAt(text, property.getStart());
  const end = list.end - 1;
  const start = text.slice(0, end).trimEnd().length;
  const edits = [{ start, end, text: `${linesOf(elements, indent + (indent || '  '))}\n${indent}` }];
  const last = list.elements.at(-1);
  if (last === undefined || list.elements.hasTrailingComma) return edits;
  return last.end === start
    ? [{ ...edits[0]!, text: `,${edits[0]!.text}` }]
    : [{ start: last.end, end: last.end, text: ',' }, ...edits];
}

function linesOf(elements: readonly string[], indent: string): string {
  return elements.map((element) => `\n${element},`.replaceAll('\n', `\n${indent}`)).join('');
}

/** Import statements after those that are there, in the same quotes. */
function importEdit(ts: Compiler, file: TypeScript.SourceFile, { imports }: ModuleAddition): Edit {
  const last = importDeclarations(ts, file).at(-1);
  const quote = last?.moduleSpecifier.getText().at(0) ?? "'";
  const lines = imports.map(({ name, from }) => `import { ${name} } from ${quote}${from}${quote};`).join('\n');
  return last === undefined
    ? { start: 0, end: 0, text: `${lines}\n` }
    : { start: last.end, end: last.end, text: `\n${lines}` };
}

function indentAt(text: string, position: number): string {
  const line = text.slice(text.lastIndexOf('\n', position - 1) + 1, position);
  return /^\s*/.exec(line)![0];
}
