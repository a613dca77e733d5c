import { randomUUID } from 'node:crypto';
import {
  Controller,
  Injectable,
  Module,
  Post,
  Req,
  UnauthorizedException,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
  type MiddlewareConsumer,
  type NestModule,
} from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { AuthGuard, PassportModule, PassportSerializer, PassportStrategy } from '@nestjs/passport';
import type { Request, RequestHandler } from 'express';
import session from 'express-session';
import { MessagingModule } from 'nestjs-messaging';
import passport from 'passport';
import { Strategy as LocalStrategy } from 'passport-local';
import { Public } from './public.js';

/** The part of a sign-in that the session keeps. */
interface SignedIn {
  readonly userId: string;
  readonly authId: string;
}

@Injectable()
export class PasswordStrategy extends PassportStrategy(LocalStrategy) {
  validate(username: string, password: string): SignedIn {
    if (username !== 'ada' || password !== process.env['PASSWORD_OF_ADA']) throw new UnauthorizedException();
    // Identifies this sign-in, so that it can be revoked alone.
    return { userId: username, authId: randomUUID() };
  }
}

@Injectable()
export class SignInSerializer extends PassportSerializer {
  serializeUser(user: SignedIn, done: (error: null, kept: SignedIn) => void): void {
    done(null, user);
  }

  deserializeUser(kept: SignedIn, done: (error: null, user: SignedIn) => void): void {
    done(null, kept);
  }
}

@Injectable()
export class PasswordGuard extends AuthGuard('local') {
  override async canActivate(context: ExecutionContext): Promise<boolean> {
    await super.canActivate(context);
    await super.logIn(context.switchToHttp().getRequest<Request>());
    return true;
  }
}

@Controller()
export class SessionController {
  @Public()
  @UseGuards(PasswordGuard)
  @Post('sign-in')
  signIn(@Req() { user }: Request): object | undefined {
    return user;
  }
}

@Injectable()
export class SessionGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<Request>();
    if (request.isAuthenticated()) return true;
    const isPublic = this.reflector.getAllAndOverride<boolean>('isPublic', [context.getHandler(), context.getClass()]);
    // An ended or unknown session gets 401. Otherwise its client would silently become anonymous.
    if (isPublic && !request.headers.cookie?.includes('connect.sid=')) return true;
    throw new UnauthorizedException();
  }
}

@Module({
  imports: [PassportModule, MessagingModule.forRoot({ gateway: { decorators: [Public()] } })],
  controllers: [SessionController],
  providers: [PasswordStrategy, SignInSerializer, { provide: APP_GUARD, useClass: SessionGuard }],
})
export class SessionModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    const sessions = session({
      secret: process.env['SESSION_SECRET']!,
      resave: false,
      saveUninitialized: false,
      cookie: { httpOnly: true, sameSite: 'lax', secure: 'auto' },
    });
    const signIns = [passport.initialize() as RequestHandler, passport.session() as RequestHandler];
    consumer.apply(sessions, ...signIns).forRoutes('{*path}');
  }
}
