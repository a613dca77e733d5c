import { Serializable, defineChannel } from 'nestjs-messaging';
import type { Person } from './people.messages.js';

/** Somebody who is connected to a server. */
export interface Visitor extends Person {
  /** When the status was chosen, in milliseconds since 1970: of two, the later one holds. */
  readonly statusAt: number;
}

/** Who is connected to one server: what it tells the others. */
@Serializable()
export class ServerReport {
  constructor(
    readonly server: string,
    readonly visitors: readonly Visitor[],
  ) {}
}

export const ServerReports = defineChannel('server_reports', ServerReport);

/** Somebody chose a status; whichever server took the request, the one with the open page has to know. */
@Serializable()
export class StatusChange {
  constructor(
    readonly userId: string,
    readonly status: string,
    readonly at = Date.now(),
  ) {}
}

export const StatusChanges = defineChannel('status_changes', StatusChange);
