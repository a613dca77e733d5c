import type { IncomingHttpHeaders } from 'node:http';
import {
  Body,
  Controller,
  ForbiddenException,
  Headers,
  Injectable,
  Param,
  Post,
  Req,
  RequestMethod,
  Res,
  UseGuards,
  type OnApplicationBootstrap,
  type Type,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Observable } from 'rxjs';
import type { Session } from '../../core/session.js';
import { NativeProof, type Claim } from '../../gateway/claim.js';
import { Gateway } from '../../gateway/gateway.js';
import type { ChannelAnswer } from '../../protocol/gateway.js';
import { EventStreams } from '../../sse/event-streams.js';
import { isGone } from '../../sse/response.js';
import { responseOf } from '../http-exchange.js';
import { RequestLimits } from '../request-limits.js';
import { refuseSignedOut } from '../refuse-signed-out.js';
import { RequestSessions } from '../request-sessions.js';
import { Sse } from '../sse.decorator.js';
import {
  assertJson,
  assertShort,
  readChangeRequest,
  readChannelQuery,
  readOpenRequest,
  type RequestedChannels,
} from './client-requests.js';
import { decorateController } from './decorate-controller.js';
import { httpErrorOf } from './http-errors.js';
import { GATEWAY_PATH, type GatewayOptions } from './gateway-options.js';
import { OriginGuard } from './origin-guard.js';

const NO_CLAIMS: ReadonlyMap<string, Claim> = new Map();

/** The requests of clients. */
@Injectable()
class GatewayController implements OnApplicationBootstrap {
  constructor(
    private readonly gateway: Gateway,
    private readonly sessions: RequestSessions,
    private readonly limits: RequestLimits,
    private readonly streams: EventStreams,
    private readonly http: HttpAdapterHost,
  ) {}

  /** Called by Nest. */
  onApplicationBootstrap(): Promise<void> {
    return this.gateway.start();
  }

  /** A stream for a native EventSource, which cannot be told more than a status. */
  @Sse()
  async listen(
    @Headers('last-event-id') lastEventId: string | undefined,
    @Req() request: { readonly url: string },
  ): Promise<Observable<unknown>> {
    const channels = readChannelQuery(request.url, this.limits.perRequest);
    const proof = lastEventId === undefined ? undefined : new NativeProof(lastEventId, channels);
    const asked = { channels, claims: proof?.claims ?? NO_CLAIMS, replays: [] };
    const { reservation, answers, claims, rules } = await this.decide(asked, request);
    if (answers.every(isRefused)) throw new ForbiddenException('None of these channels may be subscribed to here');
    const connection = this.gateway.open(reservation);
    return connection.stream(answers, claims, { form: 'native', names: channels, proof }, rules);
  }

  /** A stream for our client. */
  @Sse('/', { method: RequestMethod.POST })
  async connect(
    @Headers() headers: IncomingHttpHeaders,
    @Body() body: unknown,
    @Req() request: object,
  ): Promise<Observable<unknown>> {
    assertJson(headers['content-type']);
    assertShort(headers, body, this.limits.perRequest);
    const { from, awayMs, ...asked } = readOpenRequest(body, this.limits.perRequest);
    const { reservation, answers, claims, rules, ...past } = await this.decide(asked, request);
    return this.gateway.open(reservation).stream(answers, claims, { form: 'client', from, awayMs, past }, rules);
  }

  /** Changes an open stream, from any node. */
  @Post(':connection/channels')
  async change(
    @Param('connection') connection: string,
    @Headers() headers: IncomingHttpHeaders,
    @Body() body: unknown,
    @Req() request: object,
    // Answered here, since an interceptor of the application that wraps results would wrap this one too.
    @Res() response: unknown,
  ): Promise<void> {
    assertJson(headers['content-type']);
    assertShort(headers, body, this.limits.perRequest);
    const change = readChangeRequest(body, this.limits.perRequest);
    const session = this.sessions.of(request);
    const raw = responseOf(request)!;
    await this.streams.answer(raw, async () => {
      if (isGone(raw)) return;
      try {
        const address = this.limits.addressOf(request);
        this.limits.change(connection, request);
        await session.settleAuthentication();
        if (isGone(raw)) return;
        refuseSignedOut(session);
        const answer = await this.gateway.change(connection, change, { session, request, address });
        if (!isGone(raw)) this.http.httpAdapter.reply(response, answer, 200);
      } catch (error) {
        throw this.errorOf(error, request, session);
      }
    });
  }

  private async decide({ channels, ...past }: RequestedChannels, request: object) {
    const session = this.sessions.of(request);
    try {
      const address = this.limits.addressOf(request);
      const reservation = this.gateway.reserve(session);
      return { reservation, ...(await this.gateway.decide(channels, { session, request, address }, past)) };
    } catch (error) {
      throw this.errorOf(error, request, session);
    }
  }

  private errorOf(error: unknown, request: object, session: Session): unknown {
    // If the session has ended with its sign-in, that is the cause of any error.
    refuseSignedOut(session);
    return httpErrorOf(this.limits.errorOf(error, request));
  }
}

/** The controller that clients subscribe through, at the path and behind the guards that the options say. */
export function createGatewayController({
  path = GATEWAY_PATH,
  guards = [],
  decorators = [],
  version,
}: GatewayOptions): Type {
  @Controller(version === undefined ? { path } : { path, version: version as string })
  @UseGuards(OriginGuard, ...guards)
  class MountedGatewayController extends GatewayController {}
  decorateController(MountedGatewayController, decorators);
  return MountedGatewayController;
}

/** Whether {@link createGatewayController} has made a class. */
export function isGatewayController(type: unknown): boolean {
  return typeof type === 'function' && type.prototype instanceof GatewayController;
}

function isRefused({ error }: ChannelAnswer): boolean {
  return error !== undefined;
}
