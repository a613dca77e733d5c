// Reads the options of all public calls from the types: their types, defaults and descriptions.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const inLib = (node) => node.getSourceFile().fileName.startsWith(join(root, 'lib/'));

/** The entries of the package, by the file that each is made of. */
const ENTRIES = {
  'nestjs-messaging': 'lib/index.ts',
  'nestjs-messaging/client': 'lib/client/index.ts',
  'nestjs-messaging/testing': 'lib/testing/index.ts',
  'nestjs-messaging/microservices': 'lib/nest/microservices/index.ts',
};

const program = createProgram();
const checker = program.getTypeChecker();

/** The options of a type that an entry exports. */
export function optionsOf(name, entry = 'nestjs-messaging') {
  const symbol = exportsOf(entry).find((exported) => exported.name === name);
  if (symbol === undefined) throw new Error(`${entry} exports no ${name}`);
  return propertiesOf(checker.getDeclaredTypeOfSymbol(symbol)).map(describeOption);
}

/**
 * The options that public calls take, each with a call: of every class and function that is exported, and the options inside
 * of options.
 */
export function* takenOptions() {
  for (const entry of Object.keys(ENTRIES)) {
    for (const symbol of exportsOf(entry)) {
      for (const [call, signature] of callsOf(symbol)) {
        for (const parameter of signature.parameters) {
          if (isOptions(parameter)) yield* optionsIn(checker.getTypeOfSymbol(parameter), call, new Set());
        }
      }
    }
  }
}

function createProgram() {
  const config = join(root, 'lib/tsconfig.json');
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(config, (file) => ts.sys.readFile(file)).config,
    ts.sys,
    join(root, 'lib'),
  );
  return ts.createProgram(
    Object.values(ENTRIES).map((file) => join(root, file)),
    options,
  );
}

function exportsOf(entry) {
  const file = program.getSourceFile(join(root, ENTRIES[entry]));
  return checker
    .getExportsOfModule(checker.getSymbolAtLocation(file))
    .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
}

/** The signatures of a function, or of the constructor and the methods of a class. */
function* callsOf(symbol) {
  if (!(symbol.flags & (ts.SymbolFlags.Class | ts.SymbolFlags.Function))) return;
  const type = checker.getTypeOfSymbol(symbol);
  for (const signature of type.getCallSignatures()) yield [symbol.name, signature];
  for (const signature of type.getConstructSignatures()) {
    if (!isInternal(signature)) yield [`new ${symbol.name}`, signature];
  }
  if (!(symbol.flags & ts.SymbolFlags.Class)) return;
  for (const owner of [type, checker.getDeclaredTypeOfSymbol(symbol)]) {
    for (const member of owner.getProperties()) {
      if (!isPublic(member)) continue;
      for (const signature of checker.getTypeOfSymbol(member).getCallSignatures()) {
        yield [`${symbol.name}.${member.name}`, signature];
      }
    }
  }
}

function isPublic(member) {
  const [declaration] = member.declarations ?? [];
  if (declaration === undefined || !inLib(declaration) || isInternal(member)) return false;
  if (ts.isPrivateIdentifier(declaration.name)) return false;
  return !(ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected));
}

/** Called `options`, or taken apart in the list of parameters. */
function isOptions(parameter) {
  const { name } = parameter.valueDeclaration ?? {};
  return /options$/i.test(parameter.name) || (name !== undefined && ts.isObjectBindingPattern(name));
}

/** Options of a type of this library, and of those inside of it whose types are called so. */
function* optionsIn(type, call, seen) {
  for (const part of type.isUnion() ? type.types : [type]) {
    if (seen.has(part)) continue;
    seen.add(part);
    for (const property of propertiesOf(part)) {
      const [declaration] = property.declarations;
      yield { call, declaration, name: property.name, owner: declaration.parent.name?.text };
      for (const inner of innerTypes(checker.getTypeOfSymbol(property))) yield* optionsIn(inner, call, seen);
    }
  }
}

function innerTypes(type) {
  return (type.isUnion() ? type.types : [type]).filter((part) =>
    propertiesOf(part).some(({ declarations: [{ parent }] }) => /(Options|Limits)$/.test(parent.name?.text ?? '')),
  );
}

/** The properties that an interface of this library declares; not those that it copies from elsewhere by name alone. */
function propertiesOf(type) {
  return type.getProperties().filter((property) => {
    const [declaration] = property.declarations ?? [];
    const isOwn = declaration !== undefined && ts.isPropertySignature(declaration) && inLib(declaration);
    return isOwn && ts.isInterfaceDeclaration(declaration.parent) && !isInternal(property);
  });
}

function isInternal(symbolOrSignature) {
  return symbolOrSignature.getJsDocTags().some(({ name }) => name === 'internal');
}

function describeOption(property) {
  const [declaration] = property.declarations;
  const tag = property.getJsDocTags(checker).find(({ name }) => name === 'defaultValue');
  return {
    declaration,
    owner: declaration.parent.name.text,
    name: property.name,
    type: typeText(declaration.type),
    isOptional: declaration.questionToken !== undefined,
    takesUndefined: takesUndefined(declaration.type),
    defaultValue: tag && flat(ts.displayPartsToString(tag.text)),
    description: flat(ts.displayPartsToString(property.getDocumentationComment(checker))),
    /** The options that it takes in turn. */
    inner: innerTypes(checker.getTypeOfSymbol(property)).flatMap((type) =>
      propertiesOf(type).map(({ declarations }) => declarations[0]),
    ),
  };
}

/** Whether `exactOptionalPropertyTypes` lets a caller pass `undefined`, which stands for an option that is not given. */
function takesUndefined(node) {
  return ts.isUnionTypeNode(node) && node.types.some(({ kind }) => kind === ts.SyntaxKind.UndefinedKeyword);
}

/** On one line, with what TSDoc links to as code. */
function flat(text) {
  return text
    .replace(/\{@link ([^}|\s]+)[^}]*\}/g, '`$1`')
    .replace(/\s+/g, ' ')
    .trim();
}

/** A type as it stands in the code, without `undefined`; the name of a few texts is replaced by them. */
function typeText(node) {
  if (ts.isParenthesizedTypeNode(node)) return typeText(node.type);
  if (ts.isUnionTypeNode(node)) {
    const parts = node.types.filter(({ kind }) => kind !== ts.SyntaxKind.UndefinedKeyword);
    if (parts.length === 1) return typeText(parts[0]);
    return parts.map((part) => (ts.isParenthesizedTypeNode(part) ? sourceText(part) : typeText(part))).join(' | ');
  }
  return sourceText(ts.isTypeReferenceNode(node) ? (textsOf(node) ?? node) : node);
}

/** The texts that a name of a type stands for, in the order in which they are declared. */
function textsOf(node) {
  const type = checker.getTypeAtLocation(node);
  const isTexts = type.isUnion() && type.types.every((part) => part.isStringLiteral());
  return isTexts ? type.aliasSymbol?.declarations[0].type : undefined;
}

function sourceText(node) {
  return node.getText().replaceAll('"', "'").replace(/\s+/g, ' ').replace(/^\| /, '');
}
