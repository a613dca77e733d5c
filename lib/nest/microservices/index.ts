// Entry `nestjs-messaging/microservices`: apart from the main one, since not every application has
// @nestjs/microservices installed.
export { MessagingClientProxy } from './messaging-client-proxy.js';
export { MessagingRpcContext } from './messaging-rpc-context.js';
export { MESSAGING_TRANSPORT, MessagingServer } from './messaging-server.js';

export type { LinkStatus } from './link-status.js';
