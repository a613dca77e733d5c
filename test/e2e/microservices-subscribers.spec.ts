import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { expect, test } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import { MessagingModule } from 'nestjs-messaging';
import { MessagingClientProxy, MessagingServer } from 'nestjs-messaging/microservices';
import { MemoryBroker, MemoryTransport } from 'nestjs-messaging/testing';
import { createApp } from '../support/apps.js';

@Controller()
class Handlers {
  @MessagePattern('works')
  works() {
    return 5;
  }

  @MessagePattern('fails')
  fails() {
    throw new Error('at work');
  }
}

async function serve() {
  const broker = new MemoryBroker();
  const { app, logger } = await createApp({
    imports: [MessagingModule.forRoot({ transport: new MemoryTransport(broker) })],
    controllers: [Handlers],
    providers: [MessagingClientProxy],
  });
  const server = MessagingServer.of(app);
  app.connectMicroservice({ strategy: server });
  await app.init();
  await app.startAllMicroservices();
  const told = () => logger.problems.filter((line) => line.includes('A subscriber of'));
  const client = app.get(MessagingClientProxy);
  return { broker, server, client, told, [Symbol.asyncDispose]: () => app.close() };
}

/** RxJS throws what nobody takes by a timer of its own, and the process would end. */
const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

const throwing = (): never => {
  throw new Error('broken');
};

test.each(['send', 'emit'] as const)(
  'What a subscriber of %s() throws is reported, and ends nothing',
  async (method) => {
    await using served = await serve();
    served.client[method]('works', 1).subscribe({ next: throwing });
    expect(await firstValueFrom(served.client.send('works', 1))).toBe(5);
    await later();
    expect(served.told()).toEqual([`error A subscriber of MessagingClientProxy.${method}() failed: broken`]);
  },
);

test('The failure of a request whose subscriber takes no errors is reported, and ends nothing', async () => {
  await using served = await serve();
  served.client.send('fails', 1).subscribe();
  expect(await firstValueFrom(served.client.send('works', 1))).toBe(5);
  await later();
  expect(served.told()).toEqual(['error A subscriber of MessagingClientProxy.send() failed: Internal server error']);
});

test('An emit that the broker did not accept, and whose subscriber takes no errors, is reported, and ends nothing', async () => {
  await using served = await serve();
  served.broker.cut();
  served.client.emit('works', 1).subscribe();
  expect(await firstValueFrom(served.client.send('works', 1))).toBe(5);
  await later();
  const text = 'A subscriber of MessagingClientProxy.emit() failed: Redis did not accept the message in time';
  expect(served.told()).toEqual([expect.stringContaining(text)]);
});

test('What a subscriber of the status of a server or a client throws is reported, and ends nothing', async () => {
  await using served = await serve();
  served.server.status.subscribe(throwing);
  served.client.status.subscribe(throwing);
  const seen: string[] = [];
  served.client.status.subscribe((status) => seen.push(status));
  await later();
  expect(seen).toEqual(['connected']);
  expect(served.told()).toEqual(Array(2).fill('error A subscriber of the status failed: broken'));
});
