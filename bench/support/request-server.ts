// A server in a separate process: forked with the names of a variant and of an adapter, it reports its
// port, and then, on request, the microseconds of CPU that it has used.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { REQUEST_VARIANTS, type RequestVariant } from './request-variants.js';

const [variant, adapter] = process.argv.slice(2);

@Module(REQUEST_VARIANTS[variant as RequestVariant])
class AppModule {}

const http = adapter === 'Fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(AppModule, http, { logger: ['error'] });
await app.listen(0, '127.0.0.1');

process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send!(user + system);
});
process.on('disconnect', () => process.exit());
process.send!((app.getHttpServer() as { address(): { port: number } }).address().port);
