import { filter, firstValueFrom, from, merge } from 'rxjs';
import type { Hub } from './hub.js';

/**
 * Resolves once these listeners cannot miss anything that other servers send. Does not wait for a broker that is unreachable or not yet
 * connected: this server works without the others then.
 */
export async function whenHeard(hub: Hub, listeners: readonly { readonly ready: Promise<void> }[]): Promise<void> {
  const heard = from(Promise.all(listeners.map(({ ready }) => ready)));
  const isAway = hub.status.pipe(filter(({ state }) => state !== 'ready'));
  await firstValueFrom(merge(heard, isAway), { defaultValue: undefined });
}

/** Whether any node hears a name; `undefined`: unknown at the moment. */
export async function isHeard(hub: Hub, name: string): Promise<boolean | undefined> {
  const count = await hub.hearers(name);
  return count === undefined ? undefined : count > 0;
}
