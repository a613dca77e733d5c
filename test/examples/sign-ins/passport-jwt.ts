import { Injectable, Module, type ExecutionContext } from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { AuthGuard, PassportModule, PassportStrategy } from '@nestjs/passport';
import { MessagingModule } from 'nestjs-messaging';
import { ExtractJwt, Strategy as JwtStrategy } from 'passport-jwt';
import { Public } from './public.js';

@Injectable()
export class TokenStrategy extends PassportStrategy(JwtStrategy) {
  constructor() {
    super({ jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(), secretOrKey: process.env['JWT_SECRET']! });
  }

  // The claims of the token, unchanged: sub, jti, scope, iat, exp.
  validate(claims: object): object {
    return claims;
  }
}

@Injectable()
export class TokenGuard extends AuthGuard('jwt') {
  constructor(private readonly reflector: Reflector) {
    super();
  }

  override canActivate(context: ExecutionContext) {
    const { headers } = context.switchToHttp().getRequest<{ headers: { authorization?: string } }>();
    const isPublic = this.reflector.getAllAndOverride<boolean>('isPublic', [context.getHandler(), context.getClass()]);
    // A client with a token is signed in on public routes too.
    return (isPublic && headers.authorization === undefined) || super.canActivate(context);
  }
}

@Module({
  imports: [PassportModule, MessagingModule.forRoot({ gateway: { decorators: [Public()] } })],
  providers: [TokenStrategy, { provide: APP_GUARD, useClass: TokenGuard }],
})
export class TokenModule {}
