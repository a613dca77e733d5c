import { once } from 'node:events';
import { createServer } from 'node:net';
import type { INestApplication } from '@nestjs/common';

const DEFAULT_PORT = 3000;
const PORTS_TO_TRY = 20;

/**
 * Listens on the port asked for, or on the first free one where none was; gives the port.
 *
 * @throws (rejects) with a sentence for people where that cannot be
 */
export async function listenOnFreePort(app: INestApplication, wanted: string | undefined): Promise<number> {
  if (wanted) {
    const port = toPort(wanted);
    if (await tryToListen(app, port)) return port;
    throw new Error(`Port ${port} is taken; choose another one with PORT=<number>.`);
  }
  for (let port = DEFAULT_PORT; port < DEFAULT_PORT + PORTS_TO_TRY; port++) {
    if (await tryToListen(app, port)) return port;
  }
  throw new Error(`The ports from ${DEFAULT_PORT} on are taken; choose one with PORT=<number>.`);
}

function toPort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  throw new Error(`PORT must be a number from 1 to 65535, not "${text}".`);
}

async function tryToListen(app: INestApplication, port: number): Promise<boolean> {
  // Asked before, since Nest logs an error where it cannot listen.
  if (!(await isFree(port))) return false;
  await app.listen(port);
  return true;
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port);
  try {
    await once(probe, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
  probe.close();
  await once(probe, 'close');
  return true;
}
