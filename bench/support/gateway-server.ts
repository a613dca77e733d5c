// A server with a gateway, in a process of its own: forked with the URL of a Redis, it says on which port it listens.
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

// One connection changes more often here than a client may by default.
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
