import { Inject, Injectable } from '@nestjs/common';
import { Hub } from '../core/hub.js';
import { Session } from '../core/session.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { describe } from '../protocol/channel-name.js';
import { isGone, onceGone } from '../sse/response.js';
import { rawRequest, responseOf } from './http-exchange.js';
import { errorText } from './log-text.js';
import { LoggingReporter } from './logging-reporter.js';
import { MessageRequest } from './message-request.js';
import { MESSAGING_OPTIONS, type ResolvedMessagingOptions } from './messaging-options.js';

interface SocketLike {
  once(event: string, listener: () => void): unknown;
}

/** Gives each request its one session, whoever asks for it and how often. */
@Injectable()
export class RequestSessions {
  private readonly byRequest = new WeakMap<object, Session>();
  private readonly authenticate: (request: never) => AuthenticationInfo | null;

  constructor(
    private readonly hub: Hub,
    private readonly reporter: LoggingReporter,
    @Inject(MESSAGING_OPTIONS) options: ResolvedMessagingOptions,
  ) {
    this.authenticate = options.authenticate ?? authenticateByUser;
  }

  /**
   * The session of what Nest injects as `REQUEST`. It closes when the HTTP response has closed, when the
   * socket of a gateway has disconnected, or when a message has been handled. Where none of these tells an
   * end (a microservice's message, no request at all) it stays open until it is closed by hand or the
   * application shuts down.
   */
  of(request: unknown): Session {
    if (request instanceof MessageRequest) return request.session;
    if (typeof request !== 'object' || request === null) return this.hub.sessions.open();
    const handled = responseOf(request) === undefined ? sessionOfMessage(request) : undefined;
    if (handled !== undefined) return handled;
    const key = rawRequest(request);
    let session = this.byRequest.get(key);
    if (session === undefined) {
      session = this.open(request);
      this.byRequest.set(key, session);
    }
    return session;
  }

  private open(request: object): Session {
    const session = this.hub.sessions.open({ auth: () => this.askWho(request) });
    const response = responseOf(request);
    if (response !== undefined) {
      // Of the response, not of the request: a request closes when its body has been read.
      if (isGone(response)) session.close();
      else onceGone(response, () => session.close());
    } else if (isSocket(request)) {
      request.once('disconnect', () => session.close());
      request.once('close', () => session.close());
    }
    return session;
  }

  private askWho(request: object): AuthenticationInfo | null {
    try {
      const auth: unknown = this.authenticate(request as never);
      if (auth === null || auth === undefined) return null;
      if (isAuthentication(auth)) return auth;
      this.reporter.warn(
        'authenticate gave',
        `Option "authenticate" gave ${describe(auth)} where { userId, … } or null is expected; taken as null`,
      );
    } catch (error) {
      this.reporter.warn('authenticate failed', `Option "authenticate" failed; taken as null: ${errorText(error)}`);
    }
    return null;
  }
}

function authenticateByUser(request: { readonly user?: unknown }): AuthenticationInfo | null {
  return isAuthentication(request.user) ? request.user : null;
}

function isAuthentication(value: unknown): value is AuthenticationInfo {
  if (typeof value !== 'object' || value === null) return false;
  const { userId } = value as Partial<AuthenticationInfo>;
  return (typeof userId === 'string' && userId !== '') || typeof userId === 'number';
}

/**
 * The session that a microservice's context brings with it, where the message came by this library's own
 * server: of the context itself, or of the request that Nest makes around it.
 */
function sessionOfMessage(request: object): Session | undefined {
  const { session, context } = request as { session?: unknown; context?: { session?: unknown } | null };
  if (session instanceof Session) return session;
  return context?.session instanceof Session ? context.session : undefined;
}

function isSocket(request: object): request is SocketLike {
  return typeof (request as Partial<SocketLike>).once === 'function';
}
