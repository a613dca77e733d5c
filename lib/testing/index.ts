/// <reference lib="es2022.error" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Tools for tests of applications that use this library.
 * @module nestjs-messaging/testing
 */
export { channelLogConformance } from './channel-log-conformance.js';
export { ClientInbox } from './client-inbox.js';
export { connectClient } from './connect-client.js';
export { createTestMessaging, TestMessaging } from './test-messaging.js';
export { Inbox } from './inbox.js';
export { historyStoreConformance } from './history-store-conformance.js';
export { inMemory, MESSAGING_OPTIONS } from './memory-options.js';
export { MemoryBroker } from '../transport/memory-broker.js';
export { MemoryTransport } from '../transport/memory-transport.js';
export { MessagingTestingModule } from './messaging-testing-module.js';
export { RedisProxy } from './redis-proxy.js';
export { recordPosts, RecordedPosts } from './recorded-posts.js';
export { TcpProxy } from './tcp-proxy.js';
export { transportConformance } from './transport-conformance.js';

export type {
  ChannelLog,
  LogEntry,
  LogGap,
  LogItem,
  LogMessage,
  LogRead,
  ReadBounds,
  ReadFailure,
} from '../core/channel-log.js';
export type { ChannelLogUnderTest, ConformanceOptions } from './channel-log-conformance.js';
export type { ClientReceivedMessage } from './client-inbox.js';
export type { ConformanceTest } from './conformance-test.js';
export type { ConnectClientOptions } from './connect-client.js';
export type { ReceivedMessage } from './inbox.js';
export type { HistoryStoreConformanceOptions } from './history-store-conformance.js';
export type { HistoryStoreUnderTest } from './histories-on-trial.js';
export type { MemoryMessagingOptions, MemoryOptionsFactory } from './memory-options.js';
export type { MessagingTestingModuleOptions } from './messaging-testing-module.js';
export type { BytesFilter, FaultyLink, ProxyMode, ProxyTarget, Way } from './faulty-link.js';
export type { Received, ReceivedMessages } from './received-messages.js';
export type { RecordedPost } from './recorded-posts.js';
export type { TransportConformanceOptions, TransportUnderTest } from './transport-conformance.js';
