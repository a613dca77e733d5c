import { Injectable } from '@nestjs/common';
import { Hub } from '../core/hub.js';
import { Session } from '../core/session.js';
import type { AskAuthentication } from '../core/session-init.js';
import { MessagingError } from '../protocol/errors.js';
import { isGone, onceGone, type RawResponse } from '../sse/response.js';
import { Authenticator } from './authenticator.js';
import { isBeingHandled, onceHandled } from './handler-end.js';
import { arrivalOf, responseOf } from './http-exchange.js';
import { MessageRequest } from './message-request.js';
import type { SessionFinder } from './session-messages.js';
import { carrierOf, onceClosed, type Carrier } from './request-carrier.js';

/** Gives each request one session, however often it is asked for. */
@Injectable()
export class RequestSessions {
  /** By the HTTP response, the socket, or the context of a message. */
  private readonly byOrigin = new WeakMap<object, Session>();
  // Shared by all sessions and responses: a function of their own would cost each open stream as much as a session.
  private readonly authenticate: AskAuthentication;
  private readonly responseClosed: (this: RawResponse) => void;

  constructor(
    private readonly hub: Hub,
    authenticator: Authenticator,
  ) {
    const { byOrigin } = this;
    this.authenticate = (request) => authenticator.ask(request as object);
    this.responseClosed = function () {
      byOrigin.get(this)?.close();
    };
  }

  /**
   * The session of what Nest injects as `REQUEST`. It closes when the HTTP response has closed, when the socket of a
   * gateway has, or when a message has been handled. One of no request at all, for `resolve()`, closes with the
   * application.
   *
   * @throws MessagingError (NO_SESSION) for what never tells an end
   */
  of(request: unknown): Session {
    if (request instanceof MessageRequest) return request.session;
    if (request === undefined || request === null) return this.hub.sessions.open();
    if (typeof request !== 'object') throw noEnd();
    const carrier = carrierOf(request);
    if (carrier === undefined) return this.ofMessage(request);
    const key = responseOf(carrier.origin) ?? carrier.origin;
    let session = this.byOrigin.get(key);
    if (session === undefined) {
      session = this.open(carrier);
      this.byOrigin.set(key, session);
    }
    return session;
  }

  /** Finds the session of what Nest injects as `REQUEST`: on first use, then the same one, even after its end. */
  finderFor(request: unknown): SessionFinder {
    // An HTTP request leads to its session itself, which saves a function for each open stream.
    if (typeof request === 'object' && request !== null && responseOf(request) !== undefined) return this;
    let session: Session | undefined;
    return { of: () => (session ??= this.of(request)) };
  }

  private open({ origin, request }: Carrier): Session {
    const session = this.hub.sessions.open({ auth: this.authenticate, request, since: arrivalOf(origin) });
    const response = responseOf(origin);
    // Of the response, not of the request: a request closes when its body has been read.
    if (response === undefined) onceClosed(origin, () => session.close());
    else if (isGone(response)) session.close();
    else onceGone(response, this.responseClosed);
    return session;
  }

  /** Of what Nest's microservices hand to a handler, or make around it as the request: nobody is behind a message. */
  private ofMessage(request: object): Session {
    const handled = sessionOfMessage(request);
    if (handled !== undefined) return handled;
    const { context } = request as { readonly context?: unknown };
    const key = typeof context === 'object' && context !== null ? context : request;
    const known = this.byOrigin.get(key);
    if (known !== undefined) return known;
    if (!isBeingHandled(key)) throw noEnd();
    const session = this.hub.sessions.open();
    onceHandled(key, () => {
      this.byOrigin.delete(key);
      session.close();
    });
    this.byOrigin.set(key, session);
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

function noEnd(): MessagingError {
  return new MessagingError(
    'NO_SESSION',
    'SessionMessages: nothing here tells when a session ends. Open one with MessagingService.openSession(), and ' +
      'close it; a handler of another microservice transport may also take it from a @Messages() parameter',
  );
}
