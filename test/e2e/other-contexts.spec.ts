import { once } from 'node:events';
import { Controller, Injectable } from '@nestjs/common';
import { ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { Interval, ScheduleModule } from '@nestjs/schedule';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { expect, test } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import { WebSocket } from 'ws';
import { Messages, MessagingModule, MessagingService, SessionMessages, type Session } from 'nestjs-messaging';
import { Hub } from '../../lib/core/hub.js';
import { createApp, startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';

// Code that is no HTTP handler has no response whose end would be the session's.

test('a gateway has a session for each socket, which ends when the socket disconnects', async () => {
  const sessions = new Queue<Session>();
  @WebSocketGateway()
  class Gateway {
    @SubscribeMessage('follow')
    follow(@MessageBody() channel: string, @Messages() messages: SessionMessages) {
      messages.addListener(channel, () => {});
      sessions.push(messages.session);
      return { event: 'following', data: channel };
    }
  }
  await using running = await startApp(
    { imports: [MessagingModule.forRoot()], providers: [Gateway] },
    { configure: (app) => void app.useWebSocketAdapter(new WsAdapter(app)) },
  );
  const follow = async (socket: WebSocket, channel: string) => {
    socket.send(JSON.stringify({ event: 'follow', data: channel }));
    await once(socket, 'message');
    return sessions.next();
  };
  const open = async () => {
    const socket = new WebSocket(running.url.replace('http', 'ws'));
    await once(socket, 'open');
    return socket;
  };
  const [one, two] = [await open(), await open()];
  const first = await follow(one, 'a');
  expect(await follow(one, 'b')).toBe(first);
  const second = await follow(two, 'a');
  expect(second).not.toBe(first);

  one.close();
  if (!first.closed) await once(first.signal, 'abort');
  expect(second.closed).toBe(false);
  two.close();
  if (!second.closed) await once(second.signal, 'abort');
});

test.each(['request', 'async-local'] as const)(
  'a handler of another microservice transport may post by SessionMessages of scope %s',
  async (scope) => {
    const seen = new Queue<unknown>();
    @Controller()
    class Handlers {
      constructor(private readonly messages: SessionMessages) {}
      @MessagePattern('rename')
      rename(name: string) {
        return this.messages.postMessage('names', name);
      }
    }
    const { app } = await createApp({ imports: [MessagingModule.forRoot({ scope })], controllers: [Handlers] });
    app.connectMicroservice({ transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } });
    await app.init();
    await app.startAllMicroservices();
    const [server] = app.getMicroservices();
    const { port } = server!.unwrap<{ address(): { port: number } }>().address();
    app.get(MessagingService).addListener('names', seen.push);
    const before = app.get(Hub).sessions.size;
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options: { host: '127.0.0.1', port } });
    expect(await firstValueFrom(client.send('rename', 'Ada'))).toBe(true);
    expect(await seen.next()).toBe('Ada');
    // Posting needs no session, so none is left open.
    expect(app.get(Hub).sessions.size).toBe(before);
    client.close();
    await app.close();
  },
);

test('a scheduled task posts and listens through MessagingService', async () => {
  const seen = new Queue<unknown>();
  @Injectable()
  class Task {
    private count = 0;
    constructor(private readonly messaging: MessagingService) {}
    @Interval(1)
    async tick() {
      await using messages = this.messaging.openSession();
      messages.addListener('ticks', seen.push);
      await messages.postMessage('ticks', ++this.count);
    }
  }
  await using running = await startApp({
    imports: [MessagingModule.forRoot(), ScheduleModule.forRoot()],
    providers: [Task],
  });
  expect(await seen.take(3)).toEqual([1, 2, 3]);
  await running.app.close();
});
