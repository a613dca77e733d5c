import { Injectable } from '@nestjs/common';
import { Hub } from '../core/hub.js';
import { Session } from '../core/session.js';
import { isGone, onceGone } from '../sse/response.js';
import { Authenticator } from './authenticator.js';
import { rawRequest, responseOf } from './http-exchange.js';
import { MessageRequest } from './message-request.js';

interface SocketLike {
  once(event: string, listener: () => void): unknown;
}

/** Gives each request its one session, whoever asks for it and how often. */
@Injectable()
export class RequestSessions {
  private readonly byRequest = new WeakMap<object, Session>();

  constructor(
    private readonly hub: Hub,
    private readonly authenticator: Authenticator,
  ) {}

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
    const session = this.hub.sessions.open({ auth: () => this.authenticator.ask(request) });
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
