import type { ChannelDefinition } from './channel-definition.js';
import { declarations } from './serializable.js';

// The other half of defineChannel(): from a name to what was said of it, as decorators keep what they say. A client asks
// for channels that this process may not have posted to yet. Held for good, since a definition that is forgotten would
// open its channel to clients by a template that it is also of; whoever defines channels for data uses a template.
const declared = new Map<string, ChannelDefinition[]>();
const names: string[] = [];
let hasHistories = false;

/** Remembers a definition for {@link declaredChannels}. */
export function declareChannel(definition: ChannelDefinition): void {
  declarations.version++;
  const { name } = definition;
  if (!declared.has(name)) names.push(name);
  hasHistories ||= definition.keepsHistory;
  const others = declared.get(name) ?? [];
  if (!others.some((other) => isSameDefinition(other, definition))) declared.set(name, [...others, definition]);
}

/** The definitions of this process that have this name; more than one if they differ. */
export function declaredChannels(name: string): readonly ChannelDefinition[] {
  return declared.get(name) ?? [];
}

/** The names of all definitions, in the order in which they came; only ever grows. */
export function declaredChannelNames(): readonly string[] {
  return names;
}

/** Whether any of them keeps a history. */
export function declaredHistories(): boolean {
  return hasHistories;
}

/** Whether two definitions of one name say the same. */
export function isSameDefinition(one: ChannelDefinition, other: ChannelDefinition): boolean {
  if (one === other) return true;
  const { interop, clients, slowConsumer, conflateBy, history, requiredScopes = [] } = one.options;
  const { history: otherHistory, requiredScopes: otherScopes = [] } = other.options;
  return (
    one.type === other.type &&
    interop === other.options.interop &&
    clients === other.options.clients &&
    slowConsumer === other.options.slowConsumer &&
    conflateBy === other.options.conflateBy &&
    history?.maxMessages === otherHistory?.maxMessages &&
    history?.ttlMs === otherHistory?.ttlMs &&
    requiredScopes.length === otherScopes.length &&
    requiredScopes.every((scope) => otherScopes.includes(scope))
  );
}
