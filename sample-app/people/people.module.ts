import { Module } from '@nestjs/common';
import { ServersModule } from '../servers/servers.module.js';
import { PeopleController } from './people.controller.js';
import { PeopleService } from './people.service.js';

/** Who is online. */
@Module({
  imports: [ServersModule],
  controllers: [PeopleController],
  providers: [PeopleService],
  exports: [PeopleService],
})
export class PeopleModule {}
