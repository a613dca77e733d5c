import { readFileSync } from 'node:fs';
import ts from 'typescript';

/** Stands for a variable part of a text. */
export const VARIES = '…';

/** A call or a `new`, with the possible texts of its arguments. */
export interface CallOfText {
  /** As in the source: `this.reporter.warn`, `TransportUnavailableError`. */
  readonly callee: string;
  /** The possible texts of each argument, with {@link VARIES} for variable parts. */
  readonly args: readonly (readonly string[])[];
}

/** The texts of a source file, and the calls that take texts. */
export function textsOfFile(file: string): {
  readonly texts: readonly string[];
  readonly calls: readonly CallOfText[];
} {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const texts: string[] = [];
  const calls: CallOfText[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
      const callee = node.expression.getText(source).replaceAll('?.', '.');
      calls.push({ callee, args: (node.arguments ?? []).map((argument) => textsOf(argument)) });
    } else if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node) || ts.isBinaryExpression(node)) {
      texts.push(...textsOf(node));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { texts, calls };
}

/** The possible texts of an expression. Looks names up in the blocks around it. */
function textsOf(node: ts.Expression): string[] {
  if (ts.isStringLiteralLike(node)) return [node.text];
  if (ts.isParenthesizedExpression(node)) return textsOf(node.expression);
  if (ts.isConditionalExpression(node)) return [...textsOf(node.whenTrue), ...textsOf(node.whenFalse)];
  if (ts.isArrowFunction(node) && !ts.isBlock(node.body)) return textsOf(node.body);
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    return joined([textsOf(node.left), textsOf(node.right)]);
  }
  if (ts.isTemplateExpression(node)) {
    const spans = node.templateSpans.flatMap(({ expression, literal }) => [textsOf(expression), [literal.text]]);
    return joined([[node.head.text], ...spans]);
  }
  if (ts.isIdentifier(node)) {
    const value = constant(node);
    if (value !== undefined) return textsOf(value);
  }
  return [VARIES];
}

function joined(parts: readonly (readonly string[])[]): string[] {
  return parts.reduce<string[]>((begun, part) => begun.flatMap((begin) => part.map((end) => begin + end)), ['']);
}

/** The value of a `const` in one of the blocks around a name. */
function constant(name: ts.Identifier): ts.Expression | undefined {
  for (let block: ts.Node = name; block !== undefined; block = block.parent) {
    if (!ts.isBlock(block) && !ts.isSourceFile(block)) continue;
    for (const statement of block.statements.filter(ts.isVariableStatement)) {
      const found = statement.declarationList.declarations.find((each) => each.name.getText() === name.text);
      if (found?.initializer !== undefined) return found.initializer;
    }
  }
  return undefined;
}
