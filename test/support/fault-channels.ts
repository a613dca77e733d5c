import { defineChannel } from 'nestjs-messaging/client';

/** What a message says. */
export interface FaultMessage {
  readonly run: string;
  /** Which channel it is of, as {@link channelOf} takes it: a native stream of several channels does not name them. */
  readonly name: string;
  readonly poster: string;
  readonly n: number;
}

/** All channels of a run without history, by the template. */
export const Numbered = defineChannel<FaultMessage, 'faults/:run/:name'>('faults/:run/:name', undefined, {
  clients: true,
});

/** One channel with history for all runs, which has more room than they need. */
export const Kept = defineChannel<FaultMessage, 'faults-kept'>('faults-kept', undefined, {
  clients: true,
  history: { maxMessages: 20_000, ttlMs: 600_000 },
});

/** Channels of a run with history, by the template. */
export const KeptOnes = defineChannel<FaultMessage, 'faults-kept/:run/:name'>('faults-kept/:run/:name', undefined, {
  clients: true,
  history: { maxMessages: 5_000, ttlMs: 600_000 },
});

/** Whoever is away for more than a moment misses something of it. */
const Brief = defineChannel<FaultMessage, 'faults-brief/:run'>('faults-brief/:run', undefined, {
  clients: true,
  history: { maxMessages: 40, ttlMs: 600_000 },
});

/** How a server listens that goes on where the process before it was. */
export const RESUMED = 'by replay';

/**
 * The names by which a run calls its channels: `kept`, `brief`, `kept/…` have histories; others have none. `*` and `kept/*`
 * are the templates.
 */
export function channelOf(run: string, name: string) {
  if (name === '*') return Numbered;
  if (name === 'kept/*') return KeptOnes;
  if (name === 'kept') return Kept;
  if (name === 'brief') return Brief.for({ run });
  if (name.startsWith('kept/')) return KeptOnes.for({ run, name: name.slice('kept/'.length) });
  return Numbered.for({ run, name });
}

/** Whether channels keep a history, by the name or the template. */
export function keepsHistory(channel: string): boolean {
  return channel.startsWith('faults-');
}

/** How much channels with history keep at least. */
export function keptOf(channel: string): number {
  const definition = channel === Kept.name ? Kept : channel.startsWith('faults-brief/') ? Brief : KeptOnes;
  return definition.definition.options.history!.maxMessages;
}

/** Which channels somebody hears who subscribes to a name or a template. */
export function hearsOf(name: string): (channel: string) => boolean {
  if (!name.includes(':')) return (channel) => channel === name;
  const beginning = name.slice(0, name.indexOf(':'));
  return (channel) => channel.startsWith(beginning);
}
