import { Global, Module } from '@nestjs/common';
import { PeopleModule } from '../people/people.module.js';
import { AuthController } from './auth.controller.js';
import { SignInsService } from './sign-ins.service.js';

/** Who somebody is. Global, since the guard is used by the routes of every module. */
@Global()
@Module({
  imports: [PeopleModule],
  controllers: [AuthController],
  providers: [SignInsService],
  exports: [SignInsService],
})
export class AuthModule {}
