// Tools for tests of applications that use this library.
export { Inbox } from './inbox.js';
export { MemoryBroker } from '../transport/memory-broker.js';
export { MemoryTransport } from '../transport/memory-transport.js';

export type { ReceivedMessage } from './inbox.js';
