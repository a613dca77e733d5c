import { Controller, Get, Inject, Injectable, Scope, type ModuleMetadata } from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import { Messages, MessagingModule, OnMessage, SessionMessages, defineChannel } from 'nestjs-messaging';

class UserUpdate {
  constructor(readonly name: string) {}
}

const UserUpdates = defineChannel('user_updates', UserUpdate);
const answer = { ok: true };

@Controller()
class Plain {
  @Get()
  get(): object {
    return answer;
  }
}

@Injectable({ scope: Scope.REQUEST })
class Empty {
  constructor(@Inject(REQUEST) readonly request: unknown) {}
}

@Controller()
class WithEmpty {
  constructor(readonly empty: Empty) {}

  @Get()
  get(): object {
    return answer;
  }
}

@Controller()
class WithMessages {
  constructor(readonly messages: SessionMessages) {}

  @Get()
  get(): object {
    return answer;
  }
}

@Controller()
class PostingWithMessages {
  constructor(readonly messages: SessionMessages) {}

  @Get()
  get(): object {
    void this.messages.postMessage(UserUpdates, new UserUpdate('Ada'));
    return answer;
  }
}

@Controller()
class ListeningWithMessages {
  constructor(readonly messages: SessionMessages) {}

  @Get()
  get(): object {
    this.messages.addListener(UserUpdates, noteUpdate);
    return answer;
  }
}

@Controller()
class WithParameter {
  @Get()
  get(@Messages() messages: SessionMessages): object {
    return messages === undefined ? {} : answer;
  }
}

@Controller()
class PostingWithParameter {
  @Get()
  get(@Messages() messages: SessionMessages): object {
    void messages.postMessage(UserUpdates, new UserUpdate('Ada'));
    return answer;
  }
}

@Injectable()
class Handler {
  @OnMessage(UserUpdates)
  handle(update: UserUpdate): void {
    noteUpdate(update);
  }
}

let lettersSeen = 0;

function noteUpdate(update: UserUpdate): void {
  lettersSeen += update.name.length;
}

function messaging(
  scope: 'request' | 'async-local',
  controller: NonNullable<ModuleMetadata['controllers']>[number],
): ModuleMetadata {
  return { imports: [MessagingModule.forRoot({ scope })], controllers: [controller], providers: [Handler] };
}

/** Applications that answer `GET /` in the same way and differ in how the controller gets its messages. */
export const REQUEST_VARIANTS = {
  plain: { controllers: [Plain] },
  'empty request-scoped provider': { controllers: [WithEmpty], providers: [Empty] },
  'the same again': { controllers: [WithEmpty], providers: [Empty] },
  'module imported, not used': messaging('request', Plain),
  'scope request': messaging('request', WithMessages),
  'scope request, posts': messaging('request', PostingWithMessages),
  'scope request, listens': messaging('request', ListeningWithMessages),
  'scope async-local': messaging('async-local', WithMessages),
  'scope async-local, posts': messaging('async-local', PostingWithMessages),
  'scope async-local, listens': messaging('async-local', ListeningWithMessages),
  '@Messages()': messaging('request', WithParameter),
  '@Messages(), posts': messaging('request', PostingWithParameter),
} satisfies Record<string, ModuleMetadata>;

export type RequestVariant = keyof typeof REQUEST_VARIANTS;
