import { Module, type DynamicModule } from '@nestjs/common';
import { MessagingModule } from 'nestjs-messaging';
import { AuthModule } from './auth/auth.module.js';
import { LiveModule } from './live/live.module.js';
import { PeopleModule } from './people/people.module.js';
import { RoomsModule } from './rooms/rooms.module.js';
import { Settings } from './settings.js';

@Module({ imports: [AuthModule, PeopleModule, RoomsModule, LiveModule] })
export class AppModule {
  static forRoot(settings: Settings): DynamicModule {
    return {
      module: AppModule,
      global: true,
      // All there is to it: without a Redis the same code serves one process.
      imports: [MessagingModule.forRoot({ redis: settings.redisUrl })],
      providers: [{ provide: Settings, useValue: settings }],
      exports: [Settings],
    };
  }
}
