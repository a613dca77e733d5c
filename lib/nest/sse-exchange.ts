import { ForbiddenException, Injectable, UnauthorizedException, type PipeTransform } from '@nestjs/common';
import type { Session } from '../core/session.js';
import { ConfigurationError } from '../protocol/errors.js';
import { answerEmpty, destroyResponse, isGone, type RawResponse } from '../sse/connection.js';
import { EventStreams } from '../sse/event-streams.js';
import { END_ID } from '../sse/frame.js';
import { checkStream, discardStream } from '../sse/stream-source.js';
import { rawRequest, releaseHandlers, type HttpRequest } from './http-exchange.js';
import { contextOf, type InjectedContext } from './injected-parameter.js';
import { RequestSessions } from './request-sessions.js';

/** What one `@Sse()` route asks for. */
export interface SseRoute {
  /** `Class.method`, for logs and errors. */
  readonly handler: string;
  readonly heartbeatMs?: number | undefined;
  readonly requiredScopes?: readonly string[] | undefined;
}

/** The response as an adapter hands it out. */
interface AdapterResponse {
  /** Fastify: node's response. */
  readonly raw?: RawResponse;
  /** Fastify: takes the response away from the framework. */
  hijack?(): void;
  getHeaders?(): Record<string, number | string | string[] | undefined>;
}

/** One request to an `@Sse()` route. */
export class SseExchange {
  constructor(
    private readonly request: HttpRequest,
    private readonly response: AdapterResponse,
    private readonly streams: EventStreams,
    private readonly sessions: RequestSessions,
  ) {}

  /**
   * Answers the request with the stream that a handler returns.
   *
   * @throws (rejects) what goes wrong before the first byte: it is for the exception filters
   */
  async answer(route: SseRoute, handle: () => unknown): Promise<void> {
    const response = this.response.raw ?? (this.response as unknown as RawResponse);
    if (this.streams.isDraining) return destroyResponse(response);
    const session = this.sessions.of(this.request);
    checkScopes(session, route.requiredScopes);
    const { method, headers } = rawRequest(this.request);
    if (headers?.['last-event-id'] === END_ID) return this.answerEmpty(response, 204);
    if (method === 'HEAD') return this.answerEmpty(response, 200);
    const result = await handle();
    if (isGone(response)) return discardStream(result);
    if (session.closeReason === 'revoked') {
      discardStream(result);
      throw new UnauthorizedException();
    }
    await this.streams.serve(checkStream(result, route.handler), {
      response,
      session,
      handler: route.handler,
      heartbeatMs: route.heartbeatMs,
      beforeHead: () => this.takeOver(response),
    });
    releaseHandlers(this.request);
  }

  private answerEmpty(response: RawResponse, status: 200 | 204): void {
    this.takeOver(response);
    answerEmpty(response, status);
  }

  /** Express answers on node's response itself; Fastify has to let go of it, with the headers set so far. */
  private takeOver(response: RawResponse): void {
    if (!this.response.hijack) return;
    this.response.hijack();
    for (const [name, value] of Object.entries(this.response.getHeaders?.() ?? {})) {
      if (value !== undefined) response.setHeader(name, value);
    }
  }
}

/** Makes the {@link SseExchange} of a request; a pipe, since that is what Nest injects into a parameter. */
@Injectable()
export class SseExchangePipe implements PipeTransform<InjectedContext, SseExchange> {
  constructor(
    private readonly streams: EventStreams,
    private readonly sessions: RequestSessions,
  ) {}

  transform(injected: InjectedContext): SseExchange {
    const context = contextOf(injected, '@Sse()');
    if (context.getType() !== 'http') {
      throw new ConfigurationError('@Sse() decorates HTTP routes of a controller');
    }
    const http = context.switchToHttp();
    return new SseExchange(http.getRequest(), http.getResponse(), this.streams, this.sessions);
  }
}

function checkScopes(session: Session, required: readonly string[] = []): void {
  // Asked for every stream, so that a revocation finds it.
  const { auth } = session;
  if (required.length === 0) return;
  if (auth === null) throw new UnauthorizedException();
  const missing = required.filter((scope) => !auth.scopes?.includes(scope));
  if (missing.length > 0) throw new ForbiddenException(`Missing scope: ${missing.join(', ')}`);
}
