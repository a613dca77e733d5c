import { Serializable, defineChannel } from 'nestjs-messaging';

/** Somebody who is online. */
export interface Person {
  readonly userId: string;
  readonly name: string;
  readonly status: string;
  /** When the status was chosen, in milliseconds since 1970: of two, the later one holds. */
  readonly statusAt: number;
}

/** News of one person, as the pages show it. `present` is no news: it tells a page that has just opened. */
@Serializable()
export class UserUpdate {
  readonly userId: string;
  readonly name: string;
  readonly status: string;

  constructor(
    readonly kind: 'present' | 'joined' | 'left' | 'status',
    { userId, name, status }: Person,
    readonly at = Date.now(),
  ) {
    this.userId = userId;
    this.name = name;
    this.status = status;
  }
}

/** For the pages of this server: every server works out for its own what the reports of all of them mean. */
export const UserUpdates = defineChannel('user_updates', UserUpdate);

/** Who is connected to one server: what it tells the others. */
@Serializable()
export class ServerReport {
  constructor(
    readonly server: string,
    readonly people: readonly Person[],
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
