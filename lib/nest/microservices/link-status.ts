import { distinctUntilChanged, map, of, switchMap, type Observable } from 'rxjs';
import type { Hub } from '../../core/hub.js';
import { isolateObservable } from '../../core/isolated-observable.js';
import type { TransportStatus } from '../../core/transport.js';

/** How the link to the other servers is, in the words of Nest's own transports. */
export type LinkStatus = 'connecting' | 'connected' | 'reconnecting' | 'disconnected';

const WORDS = {
  connecting: 'connecting',
  ready: 'connected',
  waiting: 'reconnecting',
  closed: 'disconnected',
} as const satisfies Record<TransportStatus['state'], LinkStatus>;

/** The status of what uses the hub's link while it is open, and is `disconnected` while it is not. */
export function linkStatus(hub: Hub, isOpen: Observable<boolean>): Observable<LinkStatus> {
  const statuses = isOpen.pipe(
    switchMap((open) => (open ? hub.status.pipe(map(({ state }) => WORDS[state])) : of('disconnected' as const))),
    distinctUntilChanged(),
  );
  return isolateObservable(statuses, (error) =>
    hub.reporter.callbackFailed({ callback: 'A subscriber of the status', error }),
  );
}
