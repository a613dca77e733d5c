import type { AuthenticationInfo } from '../protocol/authentication.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { readList, readName, readObject, readText, readWholeNumber } from '../protocol/wire-reader.js';

/** How many rules are kept for comparison. */
const MAX_KNOWN = 10_000;
/** More names, scopes or authorizers than any rule has. */
const MAX_PARTS = 10_000;
/** The longest scope or authorizer, in characters; the application chooses these. */
const MAX_PART_LENGTH = 10_000;

/** The rule that let a client subscribe to a channel, as it was when it decided. */
export interface ChannelRule {
  /** The channel or template whose definition and authorizers decided. Several only if templates are equally literal: then all had to agree. */
  readonly names: readonly string[];
  /** The `requiredScopes`; the sign-in had all of them. */
  readonly scopes: readonly string[];
  /** The authorizers that returned `true`, as `Class.method`. Empty: none decides about this channel, so every client with the scopes gets it. */
  readonly authorizers: readonly string[];
}

/** What gave a client a subscription. */
export interface ChannelGrant {
  /** The channel or template that the client is subscribed to. */
  readonly channel: string;
  /** The sign-in that it was granted to; `null`: anonymous. It is that of the connection, or another one of the same user. */
  readonly auth: AuthenticationInfo | null;
  /** The rule that granted it; absent if a server of an earlier version decided. */
  readonly rule?: ChannelRule;
}

/** The rules by which channels were granted, by the name of the channel or template. */
export type RulesByName = ReadonlyMap<string, ChannelRule>;

export const NO_RULES: RulesByName = new Map();

/** Keeps one object for all equal rules, because each subscription refers to its rule, and there are few rules. */
export class KnownRules {
  private readonly known = new Map<string, ChannelRule>();

  /** The frozen object for a rule. */
  same({ names, scopes, authorizers }: ChannelRule): ChannelRule {
    const key = JSON.stringify([names, scopes, authorizers]);
    let rule = this.known.get(key);
    if (rule !== undefined) return rule;
    // An application can define channels without end. Rules in use stay in use; later equal ones are other objects.
    if (this.known.size >= MAX_KNOWN) this.known.clear();
    rule = Object.freeze({ names: frozen(names), scopes: frozen(scopes), authorizers: frozen(authorizers) });
    this.known.set(key, rule);
    return rule;
  }
}

/** The rules of many subscriptions on their way to another node: each once, and named by its index. */
export class RuleTable {
  readonly all: ChannelRule[] = [];
  private readonly indexes = new Map<ChannelRule, number>();

  /** @returns the index of a rule; `null` for none */
  indexOf(rule: ChannelRule | undefined): number | null {
    if (rule === undefined) return null;
    let index = this.indexes.get(rule);
    if (index === undefined) this.indexes.set(rule, (index = this.all.push(rule) - 1));
    return index;
  }
}

/** The rules of some names as they go to another node; `undefined` if no name has a rule. */
export function writeRules(names: readonly string[], rules: RulesByName): unknown {
  const table = new RuleTable();
  const known = new KnownRules();
  const of = names.map((name) => {
    const rule = rules.get(name);
    return table.indexOf(rule && known.same(rule));
  });
  return table.all.length === 0 ? undefined : { all: table.all, of };
}

/**
 * @param value - the result of {@link writeRules}, or `undefined` from nodes of earlier versions
 * @throws InvalidMessageError for an invalid value
 */
export function readRules(value: unknown, names: readonly string[]): RulesByName {
  if (value === undefined) return NO_RULES;
  const { all, of } = readObject(value, 'the rules of channels');
  const table = readRuleTable(all, names.length);
  const rules = readRuleIndexes(of, names.length, table);
  return new Map(names.flatMap((name, index) => (rules[index] === undefined ? [] : [[name, rules[index]]])));
}

/** @throws InvalidMessageError for an invalid value */
export function readRuleTable(value: unknown, maxRules: number): ChannelRule[] {
  return readList(value, 'a table of rules', maxRules, readRule);
}

/**
 * @returns the rule of each item
 * @throws InvalidMessageError for an invalid value
 */
export function readRuleIndexes(value: unknown, count: number, table: readonly ChannelRule[]) {
  const rules = readList(value, 'the rules of subscriptions', count, (item, path) => {
    if (item === null) return undefined;
    const rule = table[readWholeNumber(item, path)];
    if (rule !== undefined) return rule;
    throw new InvalidMessageError(`${path} name a rule that is not in their table`);
  });
  if (rules.length === count) return rules;
  throw new InvalidMessageError(`the rules of ${count} subscriptions must have as many items, not ${rules.length}`);
}

function frozen(part: readonly string[]): readonly string[] {
  return Object.freeze([...part]);
}

function readRule(value: unknown, path: string): ChannelRule {
  const { names, scopes, authorizers } = readObject(value, path);
  const readPart = (part: unknown): string => readText(part, path, MAX_PART_LENGTH);
  return {
    names: readList(names, `the names in ${path}`, MAX_PARTS, readName),
    scopes: readList(scopes, `the scopes in ${path}`, MAX_PARTS, readPart),
    authorizers: readList(authorizers, `the authorizers in ${path}`, MAX_PARTS, readPart),
  };
}
