// A server with a gateway, in a separate process: forked with the URL of a Redis, it reports its port.
import 'reflect-metadata';
import { Body, Controller, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { defineChannel, MessagingModule } from 'nestjs-messaging';

// Open to clients, one for each number.
defineChannel('bench/:number', undefined, { clients: true });

@Controller('empty')
class EmptyController {
  @Post()
  answer(@Body() body: unknown): unknown {
    return body;
  }
}

// One connection changes more often here than the default limit allows.
const limits = { maxChangesPerSecondPerConnection: 100_000 };

@Module({
  imports: [MessagingModule.forRoot({ redis: process.argv[2], gateway: true, limits })],
  controllers: [EmptyController],
})
class AppModule {}

const app = await NestFactory.create(AppModule, new ExpressAdapter(), { logger: ['error'] });
await app.listen(0, '127.0.0.1');
process.on('disconnect', () => process.exit());
process.send!((app.getHttpServer() as { address(): { port: number } }).address().port);
