import { filter, firstValueFrom, from, merge } from 'rxjs';
import type { Hub } from './hub.js';

/**
 * Resolves once nothing that other servers send to these listeners can be missed. Does not wait for a
 * broker that cannot be reached, or is not connected to yet: this server goes on without the others.
 */
export async function whenHeard(hub: Hub, listeners: readonly { readonly ready: Promise<void> }[]): Promise<void> {
  const heard = from(Promise.all(listeners.map(({ ready }) => ready)));
  const isAway = hub.status.pipe(filter(({ state }) => state !== 'ready'));
  await firstValueFrom(merge(heard, isAway), { defaultValue: undefined });
}
