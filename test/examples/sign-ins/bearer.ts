import { Injectable, Module, UnauthorizedException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { JwtModule, JwtService } from '@nestjs/jwt';
import { MessagingModule } from 'nestjs-messaging';
import { Public } from './public.js';

@Injectable()
export class BearerGuard implements CanActivate {
  constructor(
    private readonly jwt: JwtService,
    private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<{ headers: { authorization?: string }; user?: unknown }>();
    const { authorization } = request.headers;
    const isPublic = this.reflector.getAllAndOverride<boolean>('isPublic', [context.getHandler(), context.getClass()]);
    // A client with a token is signed in on public routes too.
    if (isPublic && authorization === undefined) return true;
    const [type, token] = authorization?.split(' ') ?? [];
    if (type !== 'Bearer' || token === undefined) throw new UnauthorizedException();
    try {
      request.user = await this.jwt.verifyAsync<object>(token);
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
  providers: [{ provide: APP_GUARD, useClass: BearerGuard }],
})
export class BearerModule {}
