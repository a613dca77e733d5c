import type { FanoutServer } from './fanout-node.js';

// Loaded on demand, so that none of them pays for the imports of another one.
const nest = () => import('./fanout-nest.js');
const node = () => import('./fanout-node.js');

/**
 * Servers that send the same events to all of their clients, each in a different way. With the URL of a Redis, those that support
 * it also send them to the clients of the other servers there; with a heartbeat, those that support it send one at intervals.
 */
export const FANOUT_SERVERS = {
  'Nest @Sse Express': async (redis) => (await nest()).nestSse('Express', redis),
  'Nest @Sse Fastify': async () => (await nest()).nestSse('Fastify'),
  'better-sse': async () => (await node()).betterSse(),
  'Socket.IO': async (redis) => (await node()).socketIo(redis, 'classic'),
  'Socket.IO, sharded': async (redis) => (await node()).socketIo(redis, 'sharded'),
  'nginx with nchan': async () => (await import('./fanout-nchan.js')).nchan(),
  'res.write(shared buffer)': async () => (await node()).openResponses((response, frame) => response.write(frame)),
  'raw socket(shared buffer)': async (_, heartbeatMs) => (await node()).rawSockets(heartbeatMs),
  'hand-written coalescer': async () => (await node()).coalescer(),
  'messaging @Sse Express': async (...options) => (await nest()).messaging('Express', 'request', ...options),
  'messaging @Sse Express, async-local': async (...options) =>
    (await nest()).messaging('Express', 'async-local', ...options),
  'messaging @Sse Fastify': async (...options) => (await nest()).messaging('Fastify', 'request', ...options),
  'messaging @Sse Fastify, async-local': async (...options) =>
    (await nest()).messaging('Fastify', 'async-local', ...options),
  'messaging gateway': async (...options) => (await nest()).messaging('Express', 'request', ...options),
  'node http, held open': async () => (await node()).openResponses(() => {}),
  'Express route, held open': async () => (await nest()).heldResponses('Express'),
  'Fastify route, held open': async () => (await nest()).heldResponses('Fastify'),
} satisfies Record<string, (redis: string | undefined, heartbeatMs: number) => Promise<FanoutServer>>;

export type FanoutVariant = keyof typeof FANOUT_SERVERS;

/** Those of this library. */
export const OURS = (Object.keys(FANOUT_SERVERS) as FanoutVariant[]).filter((name) => name.startsWith('messaging'));
