import {
  Controller,
  Injectable,
  Module,
  Post,
  Res,
  UnauthorizedException,
  type CanActivate,
  type ExecutionContext,
  type MiddlewareConsumer,
  type NestModule,
} from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { JwtModule, JwtService } from '@nestjs/jwt';
import cookieParser from 'cookie-parser';
import type { Request, Response } from 'express';
import { MessagingModule } from 'nestjs-messaging';
import { Public } from './public.js';

@Controller()
export class CookieController {
  constructor(private readonly jwt: JwtService) {}

  @Public()
  @Post('sign-in')
  async signIn(@Res({ passthrough: true }) response: Response): Promise<void> {
    // Check a password first. An EventSource can send no credentials except cookies.
    const token = await this.jwt.signAsync({ sub: 'ada', jti: 'laptop', scope: 'read' });
    response.cookie('token', token, { httpOnly: true, secure: true, sameSite: 'lax' });
  }
}

@Injectable()
export class CookieGuard implements CanActivate {
  constructor(
    private readonly jwt: JwtService,
    private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<Request & { user?: unknown }>();
    const { token } = request.cookies as { token?: string };
    const isPublic = this.reflector.getAllAndOverride<boolean>('isPublic', [context.getHandler(), context.getClass()]);
    if (isPublic && token === undefined) return true;
    try {
      request.user = await this.jwt.verifyAsync<object>(token ?? '');
    } catch {
      throw new UnauthorizedException();
    }
    return true;
  }
}

@Module({
  imports: [
    JwtModule.registerAsync({ useFactory: () => ({ secret: process.env['JWT_SECRET']! }) }),
    MessagingModule.forRoot({ gateway: { decorators: [Public()] } }),
  ],
  controllers: [CookieController],
  providers: [{ provide: APP_GUARD, useClass: CookieGuard }],
})
export class CookieModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(cookieParser()).forRoutes('{*path}');
  }
}
