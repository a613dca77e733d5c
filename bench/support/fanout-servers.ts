import type { FanoutServer } from './fanout-node.js';

// Loaded when they are asked for: none of them is to pay for what another one imports.
const nest = () => import('./fanout-nest.js');
const node = () => import('./fanout-node.js');

/** Servers that send the same events to all of their clients, each in its way. */
export const FANOUT_SERVERS = {
  'Nest @Sse Express': async () => (await nest()).nestSse('Express'),
  'Nest @Sse Fastify': async () => (await nest()).nestSse('Fastify'),
  'better-sse': async () => (await node()).betterSse(),
  'Socket.IO': async () => (await node()).socketIo(),
  'res.write(shared buffer)': async () => (await node()).openResponses((response, frame) => response.write(frame)),
  'raw socket(shared buffer)': async () => (await node()).rawSockets(),
  'hand-written coalescer': async () => (await node()).coalescer(),
  'messaging @Sse Express': async () => (await nest()).messaging('Express', 'request'),
  'messaging @Sse Express, async-local': async () => (await nest()).messaging('Express', 'async-local'),
  'messaging @Sse Fastify': async () => (await nest()).messaging('Fastify', 'request'),
  'messaging @Sse Fastify, async-local': async () => (await nest()).messaging('Fastify', 'async-local'),
  'messaging gateway': async () => (await nest()).messaging('Express', 'request'),
  'node http, held open': async () => (await node()).openResponses(() => {}),
  'Express route, held open': async () => (await nest()).heldResponses('Express'),
  'Fastify route, held open': async () => (await nest()).heldResponses('Fastify'),
} satisfies Record<string, () => Promise<FanoutServer>>;

export type FanoutVariant = keyof typeof FANOUT_SERVERS;

/** Those of this library. */
export const OURS = (Object.keys(FANOUT_SERVERS) as FanoutVariant[]).filter((name) => name.startsWith('messaging'));
