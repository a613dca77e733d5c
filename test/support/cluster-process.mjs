// Two workers of node:cluster that share a port, each a server of server-process.mjs: `node cluster-process.mjs express|fastify`.
// Prints their URL when both are ready. `stall`: the first worker posts a message that takes long to read. `end`: it is sent SIGTERM.
import cluster from 'node:cluster';
import { once } from 'node:events';

cluster.setupPrimary({ exec: new URL('./server-process.mjs', import.meta.url).pathname });
const first = cluster.fork();
const [{ port }] = await once(first, 'listening');
await once(cluster.fork(), 'listening');
console.log(`http://127.0.0.1:${port}`);

process.on('message', (message) => {
  if (message === 'stall') first.send('stall');
  else first.process.kill('SIGTERM');
});
process.on('disconnect', () => process.exit());
first.once('exit', (_code, signal) => process.send(signal));
