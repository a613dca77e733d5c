/// <reference lib="es2022.error" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Messages for Nest's microservices. An entry of its own, because not every application has `@nestjs/microservices` installed.
 * @module nestjs-messaging/microservices
 */
export { MessagingClientProxy } from './messaging-client-proxy.js';
export { MessagingRpcContext } from './messaging-rpc-context.js';
export { MESSAGING_TRANSPORT, MessagingServer } from './messaging-server.js';

export type { LinkStatus } from './link-status.js';
