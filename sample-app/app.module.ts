import { Module, type DynamicModule } from '@nestjs/common';
import { MessagingModule } from 'nestjs-messaging';
import { AuthModule } from './auth/auth.module.js';
import { SignedInGuard } from './auth/signed-in.guard.js';
import { HouseModule } from './house/house.module.js';
import { PeopleModule } from './people/people.module.js';
import { RoomsModule } from './rooms/rooms.module.js';
import { ServersModule } from './servers/servers.module.js';
import { Settings } from './settings.js';

@Module({ imports: [AuthModule, PeopleModule, HouseModule, RoomsModule, ServersModule] })
export class AppModule {
  static forRoot(settings: Settings): DynamicModule {
    return {
      module: AppModule,
      global: true,
      // All there is to it. Without a Redis the same code serves one process; the gateway is what pages subscribe through.
      imports: [MessagingModule.forRoot({ redis: settings.redisUrl, gateway: { guards: [SignedInGuard] } })],
      providers: [{ provide: Settings, useValue: settings }],
      exports: [Settings],
    };
  }
}
