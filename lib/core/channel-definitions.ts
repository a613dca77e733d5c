import { isOfTemplate, isTemplate, paramsOf, quote } from '../protocol/channel-name.js';
import type { ChannelDefinition, HistoryOptions } from '../protocol/channel-definition.js';
import {
  declaredChannelNames,
  declaredChannels,
  declaredHistories,
  isSameDefinition,
} from '../protocol/declared-channels.js';
import { ConfigurationError } from '../protocol/errors.js';
import { classInfo, declarations, describePlace } from '../protocol/serializable.js';
import { nameOf } from '../protocol/text-of.js';
import { sourceOfChannel } from '../protocol/source.js';
import type { TypeRegistry } from '../protocol/type-registry.js';
import type { Class } from '../protocol/message.js';
import { KnownTemplates, type TemplateMatch } from './known-templates.js';
import { markClass } from './class-guard.js';
import { Templates } from './templates.js';

/** Nobody posts instances of these classes. */
const PRIMITIVES: readonly unknown[] = [String, Number, Boolean];

/** How many names are kept with their decisions. */
const MAX_DECIDED = 10_000;

/**
 * The channel definitions that one application uses, and the one rule for what a name means: the definition of exactly that
 * name counts; without one, that of its most literal template. If two equally literal templates disagree, the name is unclear and
 * nothing is guessed.
 *
 * Definitions are held weakly, so an application that keeps defining channels does not fill the memory.
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
  /** See {@link newContradictions}. */
  private readonly contradicting = new Set<string>();

  /** @param noInterop - see `Transport.noInterop` */
  constructor(
    private readonly types: TypeRegistry,
    private readonly noInterop?: string,
  ) {}

  /** The definition of a channel, or of a template as a whole. `unclear`: there are several, and this application uses none of them yet. */
  of(name: string): ChannelDefinition | 'unclear' | undefined {
    const exact = this.ofExactly(name);
    if (exact !== undefined) return exact;
    const [template, ...equals] = this.defined.mostLiteral(name);
    return equals.length > 0 ? 'unclear' : template && this.ofExactly(template.name);
  }

  /** Makes a name or template decide about its channels even if it has no definition. */
  rule(name: string): void {
    this.ruled.add(name);
    this.deciding.add(name);
  }

  /** The names that decide who may use a channel: its own, or its most literal template, or several equally literal ones. */
  decidersOf(name: string): readonly TemplateMatch[] {
    if (!isTemplate(name) && (this.ruled.has(name) || this.ofExactly(name) !== undefined))
      return [{ name, params: {} }];
    // The channel of a source has no definition; its name says everything.
    const segments = name.split('/');
    const source = sourceOfChannel(segments);
    if (source === undefined) return this.deciding.mostLiteral(name);
    const template = source.template.split('/');
    return isOfTemplate(template, segments) ? [{ name: source.template, params: paramsOf(template, segments) }] : [];
  }

  /**
   * Whether a template alone decides who may use a channel. If so, the channel belongs to the template as a whole. A channel with a
   * definition or an authorizer of its own, or of a more literal template, does not. Called for each message, so results are kept.
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
   * The class of a name's messages, by the definitions that this application uses. Called for each message, so results are kept.
   *
   * @returns `undefined` if messages may be of any class, and if equally literal definitions disagree
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

  /** The history options of a channel; `undefined`: it keeps no history. Called for each post by name, so results are kept. */
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

  /** @throws ConfigurationError for a channel with `interop: true` if the transport cannot keep that promise */
  assertCarried({ name, options }: ChannelDefinition): void {
    if (options.interop === true && this.noInterop !== undefined)
      throw new ConfigurationError(`Channel ${quote(name)} has interop: true, but ${this.noInterop}`);
  }

  /**
   * @throws ConfigurationError if the name has another definition, if its message class shares its wire name with another class, or if the
   *   transport cannot carry it
   */
  use(definition: ChannelDefinition): void {
    if (this.known.has(definition)) return;
    this.assertCarried(definition);
    const other = this.byName.get(definition.name)?.deref();
    if (other !== undefined && !isSameDefinition(definition, other))
      throw definedTwice(definition.name, [other, definition]);
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

  /** Names whose definitions in this process differ, with the text about each; every name once. */
  newContradictions(): [name: string, text: string][] {
    const names = declaredChannelNames().filter(
      (name) => !this.contradicting.has(name) && declaredChannels(name).length > 1,
    );
    return names.flatMap((name) => {
      const settings = declaredChannels(name).map(settingsOf);
      // Reloaded code defines its channels again: only the class objects differ.
      if (settings.every((each) => differences(each, settings[0]!).length === 0)) return [];
      this.contradicting.add(name);
      return [[name, definedTwice(name).message] as [string, string]];
    });
  }

  private findClass(name: string): Class | undefined {
    const exact = this.byName.get(name)?.deref();
    if (exact !== undefined) return exact.type;
    const [template, ...equals] = this.usedTemplates.mostLiteral(name);
    return equals.every(({ type }) => type === template?.type) ? template?.type : undefined;
  }

  /** The definition that this application uses or, before it uses one, the only definition there is. */
  private ofExactly(name: string): ChannelDefinition | 'unclear' | undefined {
    const used = this.byName.get(name)?.deref();
    if (used !== undefined) return used;
    const declared = declaredChannels(name);
    return declared.length > 1 ? 'unclear' : declared[0];
  }
}

/**
 * The error for a name with several definitions.
 *
 * @param definitions - those that differ
 */
export function definedTwice(name: string, definitions = declaredChannels(name)): ConfigurationError {
  const settings = definitions.map(settingsOf);
  const ways = settings.map((each) => {
    const keys = new Set(settings.flatMap((other) => differences(each, other)));
    return [...keys].map((key) => `${key}: ${each[key]}`).join(', ');
  });
  const shown = ways.every((way) => way !== '') ? ` (once with ${ways.join('; once with ')})` : '';
  return new ConfigurationError(
    `Channel ${quote(name)} is defined twice, in different ways${shown}; define it once and import it where it is used`,
  );
}

type Settings = Readonly<Record<string, string>>;

/** The settings of a definition, as an error shows them. */
function settingsOf({ type, options }: ChannelDefinition): Settings {
  const { interop, clients, slowConsumer, conflateBy, history, requiredScopes = [] } = options;
  return {
    class: type === undefined ? 'none' : `${nameOf(type) || 'an anonymous class'}${placeOf(type)}`,
    interop: String(interop),
    clients: String(clients),
    slowConsumer: String(slowConsumer),
    conflateBy: conflateBy === undefined ? 'none' : conflateBy.toString().slice(0, 60),
    history: history === undefined ? 'none' : JSON.stringify(history),
    requiredScopes: JSON.stringify(requiredScopes.toSorted()),
  };
}

/** Where a class was declared, if a decorator says so. */
function placeOf(type: Class): string {
  return classInfo(type) === undefined ? '' : ` at ${describePlace(type)}`;
}

/** The names of the settings that differ. */
function differences(one: Settings, other: Settings): string[] {
  return Object.keys(one).filter((key) => one[key] !== other[key]);
}
