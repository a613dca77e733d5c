import { Body, Controller, Get, HttpCode, Put, UseGuards } from '@nestjs/common';
import { Messages, SessionMessages } from 'nestjs-messaging';
import { CurrentUser } from '../auth/current-user.decorator.js';
import type { SignedInUser } from '../auth/signed-in-user.js';
import { SignedInGuard } from '../auth/signed-in.guard.js';
import type { Person } from './people.messages.js';
import { PeopleService } from './people.service.js';
import { StatusChange, StatusChanges } from './server-report.messages.js';
import { StatusDto } from './status.dto.js';

@Controller()
@UseGuards(SignedInGuard)
export class PeopleController {
  constructor(private readonly people: PeopleService) {}

  @Get('people')
  everybody(): readonly Person[] {
    return this.people.everybody();
  }

  @Put('me/status')
  @HttpCode(204)
  async setStatus(
    @CurrentUser() { userId }: SignedInUser,
    @Body() { status }: StatusDto,
    @Messages() messages: SessionMessages,
  ): Promise<void> {
    await messages.postMessage(StatusChanges, new StatusChange(userId, status), { scope: 'auto' });
  }
}
