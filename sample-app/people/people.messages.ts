import { Serializable, defineChannel } from 'nestjs-messaging/client';

// Shared by the servers and the page, as rooms.messages.ts is.

/** Somebody who is online. */
export interface Person {
  readonly userId: string;
  readonly name: string;
  readonly status: string;
}

/** News of one person, with all that there is to know of them. */
@Serializable({ name: 'UserUpdate' })
export class UserUpdate implements Person {
  readonly userId: string;
  readonly name: string;
  readonly status: string;

  constructor(
    readonly kind: 'joined' | 'left' | 'status',
    { userId, name, status }: Person,
  ) {
    this.userId = userId;
    this.name = name;
    this.status = status;
  }
}

/** For the pages of one server: every server works out for its own what the reports of all of them mean. */
export const UserUpdates = defineChannel('user_updates', UserUpdate, { clients: true });
