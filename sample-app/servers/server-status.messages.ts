import { Serializable, defineChannel } from 'nestjs-messaging/client';

// Shared by the servers and the page, as rooms.messages.ts is.

/** How a server stands with the other servers. */
@Serializable({ name: 'ServerStatus' })
export class ServerStatus {
  /** @param isCutOff - whether its messages reach nobody but its own pages, though there are other servers */
  constructor(readonly isCutOff: boolean) {}
}

/** For the pages of one server. */
export const ServerStatuses = defineChannel('server_status', ServerStatus, { clients: true });
