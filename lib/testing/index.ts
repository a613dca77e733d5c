// Tools for tests of applications that use this library.
export { channelLogConformance } from './channel-log-conformance.js';
export { Inbox } from './inbox.js';
export { MemoryBroker } from '../transport/memory-broker.js';
export { MemoryTransport } from '../transport/memory-transport.js';

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
export type { ChannelLogUnderTest, ConformanceOptions, ConformanceTest } from './channel-log-conformance.js';
export type { ReceivedMessage } from './inbox.js';
