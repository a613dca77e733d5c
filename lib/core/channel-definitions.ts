import { ConfigurationError } from '../protocol/errors.js';
import { mostLiteral, quote } from '../protocol/channel-name.js';
import type { ChannelDefinition } from '../protocol/channel.js';
import { declaredChannelNames, declaredChannels } from '../protocol/declared-channels.js';
import type { TypeRegistry } from '../protocol/type-registry.js';

/**
 * The channel definitions that one application uses; sees to it that a name is defined in one way only.
 * Definitions are held weakly: an application that defines channels as it goes must not fill the memory.
 */
export class ChannelDefinitions {
  private readonly byName = new Map<string, WeakRef<ChannelDefinition>>();
  private readonly known = new WeakSet<ChannelDefinition>();
  private readonly collected = new FinalizationRegistry<string>((name) => {
    if (this.byName.get(name)?.deref() === undefined) this.byName.delete(name);
  });

  constructor(private readonly types: TypeRegistry) {}

  get(name: string): ChannelDefinition | undefined {
    return this.byName.get(name)?.deref();
  }

  /** The definition of the channel of this name, or of the most literal template that it is of. */
  of(name: string): ChannelDefinition | undefined {
    const exact = this.get(name) ?? declaredChannels(name)[0];
    if (exact !== undefined) return exact;
    const [template] = mostLiteral(declaredChannelNames(), name);
    return template && this.of(template.name);
  }

  /**
   * @throws ConfigurationError where the name has another definition, or the name of its message class another class
   */
  use(definition: ChannelDefinition): void {
    if (this.known.has(definition)) return;
    const other = this.byName.get(definition.name)?.deref();
    if (other !== undefined && !definition.equals(other)) {
      throw new ConfigurationError(
        `Channel ${quote(definition.name)} is defined twice, in different ways; define it once and import it where it is used`,
      );
    }
    if (definition.type !== undefined) this.types.register(definition.type);
    this.byName.set(definition.name, new WeakRef(definition));
    this.collected.register(definition, definition.name);
    this.known.add(definition);
  }
}
