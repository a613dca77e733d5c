import { fileURLToPath } from 'node:url';
import { ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { NextFunction, Request, Response } from 'express';
import { AppModule } from './app.module.js';
import { ServerStatusService } from './servers/server-status.service.js';
import type { Settings } from './settings.js';

// Beside this file both in the sources and, copied by the build and with the page's script, in dist.
const PUBLIC_FOLDER = fileURLToPath(new URL('./public', import.meta.url));

/** Makes the application, ready to listen. */
export async function createApp(settings: Settings): Promise<NestExpressApplication> {
  const app = await NestFactory.create<NestExpressApplication>(AppModule.forRoot(settings), {
    logger: ['warn', 'error', 'fatal'],
    // A browser keeps spare connections open; without this, they would hold up the end of the process.
    forceCloseConnections: true,
  });
  app.disable('x-powered-by');
  app.use(setSecurityHeaders);
  app.use(nameServer(settings, app.get(ServerStatusService)));
  app.useStaticAssets(PUBLIC_FOLDER);
  app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true, forbidNonWhitelisted: true }));
  return app;
}

function setSecurityHeaders(_request: Request, response: Response, next: NextFunction): void {
  response.setHeader('content-security-policy', "default-src 'self'; frame-ancestors 'none'; form-action 'self'");
  response.setHeader('x-content-type-options', 'nosniff');
  response.setHeader('referrer-policy', 'same-origin');
  next();
}

/** Names the server that answers, and how it stands with the others, for the page to show. */
function nameServer({ serverName }: Settings, status: ServerStatusService) {
  const name = encodeURIComponent(serverName);
  return (_request: Request, response: Response, next: NextFunction): void => {
    response.setHeader('x-server', name);
    if (status.isCutOff) response.setHeader('x-server-cut-off', 'true');
    next();
  };
}
