import type { NestExpressApplication } from '@nestjs/platform-express';
import { createApp } from './app.js';
import { Settings } from './settings.js';

const DEFAULT_PORT = 3000;
const PORTS_TO_TRY = 20;

const settings = Settings.fromEnvironment(process.env);
const app = await createApp(settings);
try {
  const port = await listen(app, process.env['PORT']);
  const who = settings.serverName === '' ? 'The sample app' : `Server ${settings.serverName}`;
  console.log(`${who} is ready: open http://localhost:${port}`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  await app.close();
  process.exitCode = 1;
}

/** Listens on the port asked for; where none was, on the first free one. */
async function listen(server: NestExpressApplication, wanted: string | undefined): Promise<number> {
  if (wanted) {
    const port = Number(wanted);
    if (!/^\d+$/.test(wanted) || port > 65_535) throw new Error(`PORT must be a number up to 65535, not "${wanted}".`);
    if (await tryToListen(server, port)) return boundPort(server);
    throw new Error(`Port ${port} is taken; choose another one with PORT=<number>.`);
  }
  for (let port = DEFAULT_PORT; port < DEFAULT_PORT + PORTS_TO_TRY; port++) {
    if (await tryToListen(server, port)) return port;
  }
  throw new Error(`The ports from ${DEFAULT_PORT} on are taken; choose one with PORT=<number>.`);
}

async function tryToListen(server: NestExpressApplication, port: number): Promise<boolean> {
  try {
    await server.listen(port);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
}

function boundPort(server: NestExpressApplication): number {
  const address = server.getHttpServer().address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
