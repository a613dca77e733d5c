import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from './fault-schedule.js';
import type { RedisServer } from './redis-server.js';
import type { TcpProxy } from '../../lib/testing/tcp-proxy.js';

/** Less than an empty Redis takes. */
const NO_MEMORY = '1mb';

/** Resolves when it is over. */
export async function inflictOnRedis(redis: RedisServer, { kind, forMs }: Fault): Promise<void> {
  if (kind === 'redis-kill-pubsub') return void (await command(redis.port, 'CLIENT KILL TYPE pubsub'));
  if (kind === 'redis-flush') return void (await command(redis.port, 'FLUSHALL'));
  if (kind === 'redis-busy') return occupy(redis.port, forMs);
  if (kind === 'redis-full') {
    await command(redis.port, `CONFIG SET maxmemory ${NO_MEMORY}`);
    await sleep(forMs);
    await command(redis.port, 'CONFIG SET maxmemory 0');
    return;
  }
  if (kind === 'redis-pause') redis.pause();
  else await (kind === 'redis-restart' ? redis.stop() : redis.kill());
  if (kind === 'redis-wipe') await redis.wipe();
  await sleep(forMs);
  if (kind === 'redis-pause') redis.resume();
  else await redis.restart();
}

/** Resolves when it is over. */
export async function inflictOnLink(link: TcpProxy, { kind, forMs, way, connection }: Fault): Promise<void> {
  if (kind === 'link-delay') await delay(link, forMs);
  else if (kind === 'link-stall') {
    link.stall(way, connection);
    await sleep(forMs);
    link.flow();
  } else if (kind === 'link-cut') {
    if (connection === undefined) link.mode = 'refuse';
    link.cut(connection);
    await sleep(connection === undefined ? forMs : 0);
    link.mode = 'pass';
  } else {
    // What is silent stays so: the server has to find it.
    link.mute(way, connection);
    if (connection === undefined && way === 'both') link.mode = 'swallow';
    await sleep(forMs);
    link.mode = 'pass';
  }
}

/** Makes a line slow for a while. */
export async function delay(line: TcpProxy, forMs: number): Promise<void> {
  line.delayMs = 20 + (forMs % 280);
  await sleep(forMs);
  line.delayMs = 0;
}

async function occupy(port: number, forMs: number): Promise<void> {
  const script = command(port, 'EVAL "while true do end" 0');
  await sleep(forMs);
  await command(port, 'SCRIPT KILL');
  await script;
  await command(port, 'SCRIPT FLUSH');
}

/** By hand, since the connection must not be one that is killed. */
async function command(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(`${text}\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return String(answer);
}
