import 'reflect-metadata';
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Module, type INestApplication, type INestApplicationContext, type ModuleMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';

/** A Nest application without HTTP. */
export async function startApplication(metadata: ModuleMetadata): Promise<INestApplicationContext> {
  @Module(metadata)
  class AppModule {}
  return NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
}

/** A server on a free port, with room for all clients that connect at once. */
export async function startServer(metadata: ModuleMetadata): Promise<{ app: INestApplication; port: number }> {
  @Module(metadata)
  class AppModule {}
  const app = await NestFactory.create(AppModule, new ExpressAdapter(), { logger: ['error'] });
  await app.init();
  const server = app.getHttpServer() as Server;
  server.listen({ port: 0, host: '127.0.0.1', backlog: 10_000 });
  await once(server, 'listening');
  return { app, port: (server.address() as AddressInfo).port };
}
