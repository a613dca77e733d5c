import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { describe, expect, test } from '@jest/globals';
import {
  AuthorizeChannel,
  defineChannel,
  InvalidChannelError,
  messagesFrom,
  MessageSource,
  MessagingModule,
  OnGap,
  OnMessage,
} from 'nestjs-messaging';

class Order {}

@MessageSource({ name: 'MarkedSource', key: 'name' })
class Source {
  readonly name = 'main';
}

const decorators = { OnMessage, OnGap, AuthorizeChannel } as Record<string, (channel: never) => MethodDecorator>;

describe.each(Object.entries(decorators))('@%s', (name, decorate) => {
  const mark = (channel: unknown) => {
    class Orders {
      note() {}
    }
    const method = Object.getOwnPropertyDescriptor(Orders.prototype, 'note')!;
    decorate(channel as never)(Orders.prototype, 'note', method);
  };

  test('names the method in the error for a channel that an import did not bring', () => {
    const expected = `@${name} on Orders.note: a channel is a string or the result of defineChannel(), not undefined; an imported one`;
    expect(() => mark(undefined)).toThrow(InvalidChannelError);
    expect(() => mark(undefined)).toThrow(expected);
  });

  test('names the method in the error for another value', () => {
    expect(() => mark(5)).toThrow(
      `@${name} on Orders.note: a channel is a string or the result of defineChannel(), not 5`,
    );
  });

  test('takes channels, templates, names and sources', () => {
    const channels = [defineChannel('marked', Order), defineChannel('marked/:id', Order), 'marked/1'];
    for (const channel of [...channels, messagesFrom(Source, Order)]) expect(() => mark(channel)).not.toThrow();
  });
});

test.each([OnMessage, OnGap])('%p refuses the class of messages in place of their channel', (decorate) => {
  expect(() => {
    class Orders {
      @((decorate as (channel: unknown) => MethodDecorator)(Order))
      note() {}
    }
    return Orders;
  }).toThrow('on Orders.note: a channel is a string or the result of defineChannel(), not the function Order');
});

test('The gateway names the missing parser of bodies', async () => {
  @Module({ imports: [MessagingModule.forRoot({ gateway: true })] })
  class AppModule {}
  const app = await NestFactory.create(AppModule, { bodyParser: false, logger: false });
  await app.listen(0, '127.0.0.1');
  const answer = await fetch(`${await app.getUrl()}/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"channels":[]}',
  });
  expect(await answer.json()).toMatchObject({
    statusCode: 400,
    message: 'The body must be a JSON object, not undefined; has the application a parser of JSON bodies?',
  });
  await app.close();
});
