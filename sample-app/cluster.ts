import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

// Two servers that hear each other through a Redis: REDIS_URL, or one that lives as long as they do.

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const SERVER_NAMES = ['one', 'two'];

const servers = new Map<string, ChildProcess>();
let redis: ChildProcess | undefined;
let isEnding = false;

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => end());
// Whatever ends this process must not leave the Redis behind.
process.on('exit', () => redis?.kill());

try {
  const redisUrl = process.env['REDIS_URL'] || (await startRedis());
  const environment = {
    ...process.env,
    REDIS_URL: redisUrl,
    // Shared, so that who has signed in on one is signed in on both.
    SESSION_SECRET: process.env['SESSION_SECRET'] || randomBytes(32).toString('base64url'),
  };
  // One after the other, since each takes the first port that is free.
  for (const [index, name] of SERVER_NAMES.entries()) {
    if (!isEnding) await startServer(name, { ...environment, SERVER_NAME: name, ...portOf(index) });
  }
  if (!isEnding) console.log('What is posted on one appears on the other. Press Ctrl-C to end both.');
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  end(1);
}

/** PORT, if given, is the first server's; those after it follow. */
function portOf(index: number): { PORT?: string } {
  const first = process.env['PORT'];
  return first ? { PORT: index === 0 ? first : String(Number(first) + index) } : {};
}

/** Resolves when the server has said its first line, which is where it can be reached. */
async function startServer(name: string, env: NodeJS.ProcessEnv): Promise<void> {
  const server = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  servers.set(name, server);
  server.once('exit', (code, signal) => {
    servers.delete(name);
    if (!isEnding) console.error(`Server ${name} has ended (${signal ?? `exit code ${code}`}).`);
    if (servers.size === 0) end(isEnding ? undefined : 1);
  });
  const lines = createInterface({ input: server.stdout });
  lines.on('line', (line) => console.log(line));
  await Promise.race([once(lines, 'line'), once(server, 'exit')]);
}

async function startRedis(): Promise<string> {
  const port = await freePort();
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  // A process group of its own: Ctrl-C reaches the servers, and Redis ends after them.
  redis = spawn('redis-server', options, { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  const lines = createInterface({ input: redis.stdout! });
  try {
    await Promise.race([
      new Promise<void>((resolve) => lines.on('line', (line) => line.includes('Ready to accept') && resolve())),
      once(redis, 'exit').then(([code]) => Promise.reject(new Error(`redis-server has ended (exit code ${code}).`))),
    ]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Error('redis-server is not installed; install it, or set REDIS_URL to a Redis that is running.', {
      cause: error,
    });
  }
  redis.once('exit', () => !isEnding && console.error('redis-server has ended: each server is on its own now.'));
  return `redis://127.0.0.1:${port}`;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  return port;
}

/** Ends the servers, and after them Redis. */
function end(exitCode?: number): void {
  isEnding = true;
  if (exitCode !== undefined) process.exitCode = exitCode;
  for (const server of servers.values()) server.kill('SIGTERM');
  if (servers.size === 0) redis?.kill();
}
