import { ForbiddenException, Injectable, UnauthorizedException, type PipeTransform } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Session } from '../core/session.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { ConfigurationError } from '../protocol/errors.js';
import { readPlaceId } from '../protocol/place-id.js';
import { EventStreams } from '../sse/event-streams.js';
import { END_ID } from '../sse/frame.js';
import { headersOf, isGone, type RawResponse } from '../sse/response.js';
import { checkStream, discardStream } from '../sse/stream-source.js';
import { takeOverFromFastify, type FastifyReply } from './fastify-head.js';
import { rawRequest, releaseHandlers, takeResponse, type HttpRequest } from './http-exchange.js';
import { contextOf, type InjectedContext } from './injected-parameter.js';
import { RequestLimits } from './request-limits.js';
import { isSignedOut, refuseSignedOut } from './refuse-signed-out.js';
import { RequestSessions } from './request-sessions.js';
import { StreamSignal } from './stream-signal.js';

/** What one `@Sse()` route asks for. */
export interface SseRoute {
  /** `Class.method`, for logs and errors. */
  readonly handler: string;
  readonly heartbeatMs?: number | undefined;
  readonly requiredScopes?: readonly string[] | undefined;
}

/** The response as an adapter hands it out: node's own, or Fastify's reply around it. */
type AdapterResponse = RawResponse | FastifyReply;

/** One request to an `@Sse()` route. */
export class SseExchange {
  private readonly raw: RawResponse;

  constructor(
    private readonly request: HttpRequest,
    private readonly response: AdapterResponse,
    private readonly streams: EventStreams,
    private readonly sessions: RequestSessions,
    private readonly limits: RequestLimits,
    private readonly http: HttpAdapterHost,
  ) {
    this.raw = 'raw' in response ? response.raw : response;
  }

  /**
   * Answers the request with the stream that a handler returns.
   *
   * @throws (rejects) what goes wrong before the first byte: it is for the exception filters
   */
  async answer(route: SseRoute, handle: () => unknown): Promise<void> {
    await this.streams.answer(this.raw, () => this.stream(route, handle));
    if (isGone(this.raw)) takeResponse(this.raw);
  }

  private async stream(route: SseRoute, handle: () => unknown): Promise<void> {
    const { raw: response, request } = this;
    if (isGone(response)) return;
    const session = this.sessions.of(request);
    // Asked for every stream, so that a revocation finds it.
    const auth = await this.enter(session);
    if (isGone(response)) return;
    refuseSignedOut(session);
    checkScopes(auth, route.requiredScopes);
    const { method, headers } = rawRequest(request);
    const lastEventId = headers?.['last-event-id'];
    if (lastEventId === END_ID) return this.answerEmpty(204);
    if (method === 'HEAD') return this.answerHead();
    StreamSignal.follow(request, session, this.streams.reporter);
    const result = await this.handle(session, handle);
    const discard = () => discardStream(result, (error) => this.streams.endFailed(route.handler, error));
    if (isGone(response)) return discard();
    if (isSignedOut(session)) {
      discard();
      refuseSignedOut(session);
    }
    if (BODILESS.has(response.statusCode)) {
      discard();
      return this.answerEmpty(response.statusCode);
    }
    await this.streams.serve(checkStream(result, route.handler), {
      response,
      session,
      resumesAfter: readPlaceId(lastEventId),
      handler: route.handler,
      heartbeatMs: route.heartbeatMs,
      beforeHead: (write) => this.takeOver(write),
    });
    releaseHandlers(request);
  }

  private async enter(session: Session): Promise<AuthenticationInfo | null> {
    try {
      return await this.limits.enter(this.request, session);
    } catch (error) {
      throw this.limits.errorOf(error, this.request);
    }
  }

  private async handle(session: Session, handle: () => unknown): Promise<unknown> {
    try {
      return await handle();
    } catch (error) {
      // If the session has ended with its sign-in, that is the cause of any error.
      refuseSignedOut(session);
      throw error;
    }
  }

  private answerHead(): Promise<void> {
    const { raw, response } = this;
    for (const [name, value] of Object.entries(headersOf(raw, response.getHeader('cache-control')))) {
      if ('raw' in response) response.header(name, value);
      else response.setHeader(name, value);
    }
    return this.answerEmpty(raw.statusCode);
  }

  private async answerEmpty(status: number): Promise<void> {
    const sent: unknown = this.http.httpAdapter.reply(this.response, undefined, status);
    takeResponse(this.raw);
    // Of Fastify it is a promise, which hooks may keep waiting.
    await sent;
  }

  /** Express answers on node's response itself; Fastify has to let go of it. */
  private takeOver(write: () => void): void {
    const { raw, response } = this;
    const take = () => {
      write();
      if (raw.headersSent) takeResponse(raw);
    };
    if ('raw' in response) takeOverFromFastify(response, take);
    else take();
  }
}

/** Statuses of responses without a body (RFC 9110, 15): where a handler or an interceptor has set one, there is no stream. */
const BODILESS: ReadonlySet<number> = new Set([204, 205, 304]);

/** Makes the {@link SseExchange} of a request; a pipe, since that is what Nest injects into a parameter. */
@Injectable()
export class SseExchangePipe implements PipeTransform<InjectedContext, SseExchange> {
  constructor(
    private readonly streams: EventStreams,
    private readonly sessions: RequestSessions,
    private readonly limits: RequestLimits,
    private readonly http: HttpAdapterHost,
  ) {}

  transform(injected: InjectedContext): SseExchange {
    const context = contextOf(injected, '@Sse()');
    if (context.getType() !== 'http') {
      throw new ConfigurationError('@Sse() decorates HTTP routes of a controller');
    }
    const http = context.switchToHttp();
    const { streams, sessions, limits } = this;
    return new SseExchange(http.getRequest(), http.getResponse(), streams, sessions, limits, this.http);
  }
}

function checkScopes(auth: AuthenticationInfo | null, required: readonly string[] = []): void {
  if (required.length === 0) return;
  if (auth === null) throw new UnauthorizedException();
  const missing = required.filter((scope) => !auth.scopes?.includes(scope));
  if (missing.length > 0) throw new ForbiddenException(`Missing scope: ${missing.join(', ')}`);
}
