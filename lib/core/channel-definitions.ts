import { isTemplate, matchTemplate, quote } from '../protocol/channel-name.js';
import type { ChannelDefinition, HistoryOptions } from '../protocol/channel-definition.js';
import {
  declaredChannelNames,
  declaredChannels,
  declaredHistories,
  isSameDefinition,
} from '../protocol/declared-channels.js';
import { ConfigurationError } from '../protocol/errors.js';
import { declarations } from '../protocol/serializable.js';
import { sourceOfChannel } from '../protocol/source.js';
import type { TypeRegistry } from '../protocol/type-registry.js';
import type { Class } from '../protocol/message.js';
import { KnownTemplates, type TemplateMatch } from './known-templates.js';
import { markClass } from './class-guard.js';
import { Templates } from './templates.js';

/** Nobody posts instances of these. */
const PRIMITIVES: readonly unknown[] = [String, Number, Boolean];

/** How many names are remembered with what decides about them. */
const MAX_DECIDED = 10_000;

/**
 * The channel definitions that one application uses, and the one rule of what a name means: what is said of exactly that
 * name; where nothing is, what is said of the template that says most of it literally. Where two say different things with
 * equal right, it is unclear, and nobody guesses.
 *
 * Definitions are held weakly: an application that defines channels as it goes must not fill the memory.
 */
export class ChannelDefinitions {
  private readonly byName = new Map<string, WeakRef<ChannelDefinition>>();
  private readonly known = new WeakSet<ChannelDefinition>();
  private readonly collected = new FinalizationRegistry<string>((name) => {
    if (this.byName.get(name)?.deref() === undefined) this.byName.delete(name);
  });
  private readonly defined = new KnownTemplates();
  /** Names with an authorizer, which decide about channels as definitions do. */
  private readonly ruled = new Set<string>();
  private readonly deciding = new KnownTemplates();
  private readonly deciderOf = new Map<string, string | undefined>();
  private decidedVersion = 0;
  private readonly usedTemplates = new Templates<{ readonly name: string; readonly type: Class | undefined }>();
  private readonly classes = new Map<string, Class | undefined>();
  private hasClasses = false;
  private readonly histories = new Map<string, HistoryOptions | undefined>();
  private historiesVersion = 0;
  private uses = 0;

  constructor(private readonly types: TypeRegistry) {}

  /** How a channel, or a template as a whole, is defined; `unclear`: in several ways, of which this application uses none yet. */
  of(name: string): ChannelDefinition | 'unclear' | undefined {
    const exact = this.ofExactly(name);
    if (exact !== undefined) return exact;
    const [template, ...equals] = this.defined.mostLiteral(name);
    return equals.length > 0 ? 'unclear' : template && this.ofExactly(template.name);
  }

  /** Has a name or template decide about its channels although nothing may be defined under it. */
  rule(name: string): void {
    this.ruled.add(name);
    this.deciding.add(name);
  }

  /** What decides who may have a channel: its own name, or its most literal template; several if they are equally literal. */
  decidersOf(name: string): readonly TemplateMatch[] {
    if (!isTemplate(name) && (this.ruled.has(name) || this.ofExactly(name) !== undefined))
      return [{ name, params: {} }];
    // What a source sends is defined by nobody; its name says it all.
    const segments = name.split('/');
    const source = sourceOfChannel(segments);
    if (source === undefined) return this.deciding.mostLiteral(name);
    const params = matchTemplate(source.template.split('/'), segments);
    return params === undefined ? [] : [{ name: source.template, params }];
  }

  /**
   * Whether a template, and nothing else, decides who may have a channel. Then the channel belongs to the template as a
   * whole; one with a definition or an authorizer of its own, or of a more literal template, does not. Asked for each
   * message, so what was found is kept.
   */
  decides(template: string, name: string): boolean {
    const version = declaredChannelNames().length + this.ruled.size;
    if (version !== this.decidedVersion || this.deciderOf.size >= MAX_DECIDED) this.deciderOf.clear();
    this.decidedVersion = version;
    let decider = this.deciderOf.get(name);
    if (decider === undefined && !this.deciderOf.has(name)) {
      const deciders = this.decidersOf(name);
      decider = deciders.length === 1 ? deciders[0]!.name : undefined;
      this.deciderOf.set(name, decider);
    }
    return decider === template;
  }

  /**
   * The class that the messages of a name are of, by the definitions that this application uses. Asked for each message, so
   * what was found is kept.
   *
   * @returns `undefined` where they may be anything, and where definitions disagree with equal right
   */
  classOf(name: string): Class | undefined {
    if (!this.hasClasses) return undefined;
    let type = this.classes.get(name);
    if (type === undefined && !this.classes.has(name)) {
      if (this.classes.size >= MAX_DECIDED) this.classes.clear();
      this.classes.set(name, (type = this.findClass(name)));
    }
    return type;
  }

  /** What a channel keeps; `undefined`: nothing. Asked for each post that names its channel, so what was found is kept. */
  historyOf(name: string): HistoryOptions | undefined {
    if (!declaredHistories()) return undefined;
    const version = declaredChannelNames().length + this.uses;
    if (version !== this.historiesVersion || this.histories.size >= MAX_DECIDED) this.histories.clear();
    this.historiesVersion = version;
    let history = this.histories.get(name);
    if (history === undefined && !this.histories.has(name)) {
      const definition = this.of(name);
      history = definition === undefined || definition === 'unclear' ? undefined : definition.options.history;
      this.histories.set(name, history);
    }
    return history;
  }

  /**
   * @throws ConfigurationError where the name has another definition, or the name of its message class another class
   */
  use(definition: ChannelDefinition): void {
    if (this.known.has(definition)) return;
    const other = this.byName.get(definition.name)?.deref();
    if (other !== undefined && !isSameDefinition(definition, other)) throw definedTwice(definition.name);
    if (PRIMITIVES.includes(definition.type)) {
      throw new ConfigurationError(`Channel ${quote(definition.name)}: for plain values leave out the class`);
    }
    if (definition.type !== undefined) {
      this.types.register(definition.type);
      markClass(definition.type);
    }
    this.byName.set(definition.name, new WeakRef(definition));
    this.collected.register(definition, definition.name);
    this.known.add(definition);
    this.uses++;
    declarations.version++;
    if (definition.segments !== undefined && this.usedTemplates.get(definition.name) === undefined) {
      this.usedTemplates.add({ name: definition.name, type: definition.type });
    }
    this.hasClasses ||= definition.type !== undefined;
    this.classes.clear();
  }

  private findClass(name: string): Class | undefined {
    const exact = this.byName.get(name)?.deref();
    if (exact !== undefined) return exact.type;
    const [template, ...equals] = this.usedTemplates.mostLiteral(name);
    return equals.every(({ type }) => type === template?.type) ? template?.type : undefined;
  }

  /** By this application, or, where it has not used it yet, by the one definition that there is. */
  private ofExactly(name: string): ChannelDefinition | 'unclear' | undefined {
    const used = this.byName.get(name)?.deref();
    if (used !== undefined) return used;
    const declared = declaredChannels(name);
    return declared.length > 1 ? 'unclear' : declared[0];
  }
}

/** What to throw for a name that is {@link ChannelDefinitions.of | unclear}. */
export function definedTwice(name: string): ConfigurationError {
  return new ConfigurationError(
    `Channel ${quote(name)} is defined twice, in different ways; define it once and import it where it is used`,
  );
}
