import { Body, ConflictException, Controller, Get, HttpCode, Post, Req, Res, UseGuards } from '@nestjs/common';
import type { Response } from 'express';
import { Messages, RevokedAuthenticationAuthId, SessionMessages } from 'nestjs-messaging';
import { PeopleService } from '../people/people.service.js';
import { CurrentUser } from './current-user.decorator.js';
import { clearSessionCookie, readSessionCookie, setSessionCookie } from './session-cookie.js';
import { SignInDto } from './sign-in.dto.js';
import { SignInsService } from './sign-ins.service.js';
import type { RequestWithUser, SignedInUser } from './signed-in-user.js';
import { SignedInGuard } from './signed-in.guard.js';
import { SignOuts, SignedOut } from './signed-out.message.js';

/** What the page is told about who it belongs to. */
interface Me {
  readonly userId: string;
  readonly name: string;
}

@Controller()
export class AuthController {
  constructor(
    private readonly signIns: SignInsService,
    private readonly people: PeopleService,
  ) {}

  @Post('sign-in')
  @HttpCode(200)
  async signIn(
    @Body() { name }: SignInDto,
    @Req() request: RequestWithUser,
    @Res({ passthrough: true }) response: Response,
    @Messages() messages: SessionMessages,
  ): Promise<Me> {
    const before = this.signIns.read(readSessionCookie(request) ?? '');
    const user = this.signIns.create(name);
    // There are no passwords here; but while somebody is online, nobody else can take the name.
    if (this.people.isOnline(user.userId) && before?.userId !== user.userId) {
      throw new ConflictException(`${name} is here already. Please choose another name.`);
    }
    if (before !== undefined) await this.end(before, messages);
    setSessionCookie(response, this.signIns.toToken(user));
    return toMe(user);
  }

  @Post('sign-out')
  @HttpCode(204)
  @UseGuards(SignedInGuard)
  async signOut(
    @CurrentUser() user: SignedInUser,
    @Res({ passthrough: true }) response: Response,
    @Messages() messages: SessionMessages,
  ): Promise<void> {
    clearSessionCookie(response);
    await this.end(user, messages);
  }

  @Get('me')
  @UseGuards(SignedInGuard)
  me(@CurrentUser() user: SignedInUser): Me {
    return toMe(user);
  }

  private async end({ userId, authId, expiresAt }: SignedInUser, messages: SessionMessages): Promise<void> {
    // First the cookie, then the streams: a tab that is cut off must not come back with it.
    await messages.postMessage(SignOuts, new SignedOut(userId, authId, expiresAt), { scope: 'auto' });
    await messages.revokeAuthentication(userId, new RevokedAuthenticationAuthId(authId));
  }
}

function toMe({ userId, name }: SignedInUser): Me {
  return { userId, name };
}
