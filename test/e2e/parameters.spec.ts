import {
  Body,
  Controller,
  Get,
  Injectable,
  Post,
  RequestMethod,
  UsePipes,
  ValidationPipe,
  type ArgumentMetadata,
  type INestApplication,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { Ctx as StockCtx, MessagePattern, Payload as StockPayload } from '@nestjs/microservices';
import { describe, expect, test } from '@jest/globals';
import { IsInt } from 'class-validator';
import supertest from 'supertest';
import { firstValueFrom, from } from 'rxjs';
import ts from 'typescript';
import {
  ConfigurationError,
  Ctx,
  Messages,
  MessagingModule,
  MessagingService,
  OnMessage,
  Payload,
  SessionMessages,
  Sse,
  type MessageContext,
} from 'nestjs-messaging';
import { MessagingClientProxy, MessagingRpcContext, MessagingServer } from 'nestjs-messaging/microservices';
import { ADAPTER_NAMES, startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { SseClient } from '../support/sse-client.js';

// Nest passes every injected parameter to the application's pipes, before the decorator's own pipe.

const pipe = () => new ValidationPipe({ validateCustomDecorators: true, transform: true, whitelist: true });

class Rename {
  @IsInt()
  id!: number;
}

@Controller()
class CompiledBySwc {
  @Post('rename')
  rename(@Messages() messages: SessionMessages, @Body() body: Rename) {
    return { isOpen: !messages.session.closed, isRename: body instanceof Rename };
  }

  @Sse('renamed', { method: RequestMethod.POST })
  renamed(@Messages() messages: SessionMessages, @Body() _body: Rename) {
    return from([messages.session.closed]);
  }
}

/** The same controller as another compiler emits it. */
function compiledByTsc(emitDecoratorMetadata: boolean): Type {
  const source = `
    @Controller()
    class Compiled {
      @Post('rename')
      rename(@Messages() messages: SessionMessages, @Body() body: Rename) {
        return { isOpen: !messages.session.closed, isRename: body instanceof Rename };
      }

      @Sse('renamed', { method: RequestMethod.POST })
      renamed(@Messages() messages: SessionMessages, @Body() _body: Rename) {
        return from([messages.session.closed]);
      }
    }`;
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, experimentalDecorators: true, emitDecoratorMetadata },
  });
  // oxlint-disable-next-line typescript/no-deprecated -- one of its overloads is, and not this one
  const scope = { RequestMethod, Controller, Post, Sse, Messages, SessionMessages, Body, Rename, from };
  // oxlint-disable-next-line typescript/no-implied-eval -- the code of this file
  const make = new Function(...Object.keys(scope), `${outputText}; return Compiled;`) as (...args: unknown[]) => Type;
  return make(...Object.values(scope));
}

function controllerWithPipe(): Type {
  @UsePipes(pipe())
  @Controller()
  class WithPipe extends CompiledBySwc {}
  return WithPipe;
}

function methodsWithPipe(): Type {
  @Controller()
  class WithPipes {
    @Post('rename')
    @UsePipes(pipe())
    rename(@Messages() messages: SessionMessages, @Body() body: Rename) {
      return { isOpen: !messages.session.closed, isRename: body instanceof Rename };
    }

    @UsePipes(pipe())
    @Sse('renamed', { method: RequestMethod.POST })
    renamed(@Messages() messages: SessionMessages, @Body() _body: Rename) {
      return from([messages.session.closed]);
    }
  }
  return WithPipes;
}

const useGlobally = (app: INestApplication) => void app.useGlobalPipes(pipe());

describe.each(ADAPTER_NAMES)('On %s, a ValidationPipe of custom decorators', (adapter) => {
  test.each<[string, () => Type, object]>([
    ['of the application', () => CompiledBySwc, { configure: useGlobally }],
    ['of the application, with controllers compiled by tsc', () => compiledByTsc(true), { configure: useGlobally }],
    ['provided as APP_PIPE', () => CompiledBySwc, { providers: [{ provide: APP_PIPE, useFactory: pipe }] }],
    ['of a controller', controllerWithPipe, {}],
    ['of methods', methodsWithPipe, {}],
  ])('%s validates declared parameters, and no injected ones', async (_case, controller, setting) => {
    const { configure, providers = [] } = setting as { configure?: typeof useGlobally; providers?: [] };
    await using running = await startApp(
      { imports: [MessagingModule.forRoot()], controllers: [controller()], providers },
      { adapter, ...(configure && { configure }) },
    );
    const post = (body: object) => supertest(running.url).post('/rename').send(body);

    expect((await post({ id: 1 }).expect(201)).body).toEqual({ isOpen: true, isRename: true });
    expect((await post({ id: 'x' }).expect(400)).body).toMatchObject({ message: ['id must be an integer number'] });
    await using stream = await SseClient.connect(`${running.url}/renamed`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"id":1}',
    });
    expect(stream.status).toBe(200);
    expect(await stream.next()).toEqual(['message', false]);
  });

  test('leaves injected parameters alone if the compiler emits no types', async () => {
    await using running = await startApp(
      { imports: [MessagingModule.forRoot()], controllers: [compiledByTsc(false)] },
      { adapter, configure: useGlobally },
    );
    const { body } = (await supertest(running.url).post('/rename').send({ id: 'x' }).expect(201)) as { body: unknown };
    expect(body).toEqual({ isOpen: true, isRename: false });
  });
});

describe('A pipe of the application', () => {
  @Injectable()
  class CopyingPipe implements PipeTransform {
    transform(value: unknown, { type }: ArgumentMetadata): unknown {
      return typeof value === 'object' && value !== null ? { ...value, type } : value;
    }
  }

  test('that copies all objects does no harm', async () => {
    @Controller()
    class Routes {
      @Get('open')
      open(@Messages() messages: SessionMessages) {
        return { isOpen: !messages.session.closed };
      }
    }
    await using running = await startApp(
      { imports: [MessagingModule.forRoot()], controllers: [Routes] },
      { configure: (app) => void app.useGlobalPipes(new CopyingPipe()) },
    );
    const { body } = (await supertest(running.url).get('/open').expect(200)) as { body: unknown };
    expect(body).toEqual({ isOpen: true });
  });

  test('that replaces an injected parameter is named as the cause', async () => {
    const errors = new Queue<unknown>();
    @Controller()
    class Routes {
      @Get('open')
      open(@Messages() _messages: SessionMessages) {}
    }
    await using running = await startApp(
      { imports: [MessagingModule.forRoot()], controllers: [Routes] },
      {
        configure: (app) => {
          app.useGlobalPipes({ transform: () => ({}) });
          app.useGlobalFilters({
            catch: (error, host) => {
              errors.push(error);
              host.switchToHttp().getResponse<{ status: (code: number) => { end: () => void } }>().status(500).end();
            },
          });
        },
      },
    );
    await supertest(running.url).get('/open').expect(500);
    const error = (await errors.next()) as Error;
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toBe(
      '@Messages(): a pipe of the application replaced the value of this decorator with an object; ' +
        "let the pipe return parameters of type 'custom' as they are",
    );
  });

  test('of an @OnMessage handler gets the message, and not the context', async () => {
    class Context {
      @IsInt()
      readonly channel!: string;
    }
    const seen = new Queue<unknown>();
    @UsePipes(pipe())
    @Injectable()
    class Handlers {
      @OnMessage('renames')
      // As a class, which a compiler emits as the parameter's type.
      handle(@Payload() rename: Rename, @Ctx() context: Context, @Messages() messages: SessionMessages) {
        seen.push([rename, (context as unknown as MessageContext).channel, messages instanceof SessionMessages]);
      }
    }
    await using running = await startApp({ imports: [MessagingModule.forRoot()], providers: [Handlers] });
    await running.app.get(MessagingService).postMessage('renames', { id: 7, more: true });
    const [rename, ...others] = (await seen.next()) as [Rename, ...unknown[]];
    expect(rename).toBeInstanceOf(Rename);
    expect(rename).toEqual({ id: 7 });
    expect(others).toEqual(['renames', true]);
  });
});

test('A pipe of a microservice handler gets the data, and not the context of our own server', async () => {
  @Controller()
  class Handlers {
    @UsePipes(pipe())
    @MessagePattern('rename')
    rename(
      @StockPayload() rename: Rename,
      @StockCtx() context: MessagingRpcContext,
      @Messages() messages: SessionMessages,
    ) {
      return [rename instanceof Rename, context.getChannel(), context.session === messages.session];
    }
  }
  @Controller()
  class Inheriting extends Handlers {}
  for (const controller of [Handlers, Inheriting]) {
    await using running = await startApp(
      { imports: [MessagingModule.forRoot()], controllers: [controller], providers: [MessagingClientProxy] },
      {
        configure: async (app) => {
          app.connectMicroservice({ strategy: MessagingServer.of(app) });
          await app.startAllMicroservices();
        },
      },
    );
    const answer = running.app.get(MessagingClientProxy).send('rename', { id: 1 });
    expect(await firstValueFrom(answer)).toEqual([true, 'rename', true]);
  }
});

test('@Messages() reports that it is for methods', () => {
  expect(() => {
    class Service {
      constructor(readonly messages: SessionMessages) {}
    }
    Messages()(Service, undefined, 0);
  }).toThrow('@Messages() decorates parameters of methods');
});
