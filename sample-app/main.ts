import { createApp } from './app.js';
import { listenOnFreePort } from './listen.js';
import { Settings } from './settings.js';

const settings = Settings.fromEnvironment(process.env);
const app = await createApp(settings);
app.enableShutdownHooks();
try {
  const port = await listenOnFreePort(app, process.env['PORT']);
  const who = settings.serverName === '' ? 'The sample app' : `Server ${settings.serverName}`;
  console.log(`${who} is ready: open http://localhost:${port}`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  await app.close();
  process.exitCode = 1;
}
