import { Injectable, Optional, type ExecutionContext, type PipeTransform } from '@nestjs/common';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import { Hub } from '../core/hub.js';
import { Revocations } from '../core/revocations.js';
import { Authenticator } from './authenticator.js';
import { contextOf, injectedParameter, type InjectedContext } from './injected-parameter.js';
import { LocalSessions } from './local-sessions.js';
import { refuseSignedOut } from './refuse-signed-out.js';
import { RequestSessions } from './request-sessions.js';
import { GIVEN_SESSION, SessionMessages } from './session-messages.js';

const NOTHING = Object.freeze({});

/** The kinds of context that somebody may be behind, and not another part of the application. */
const REQUESTS = new Set<string>(['http', 'ws', 'graphql']);

/** Makes the {@link SessionMessages} of a request; a pipe, since that is what Nest injects into a parameter. */
@Injectable()
class SessionMessagesPipe implements PipeTransform<InjectedContext, SessionMessages | Promise<SessionMessages>> {
  constructor(
    private readonly hub: Hub,
    private readonly revocations: Revocations,
    private readonly sessions: RequestSessions,
    private readonly authenticator: Authenticator,
    @Optional() private readonly local?: LocalSessions,
  ) {}

  transform(injected: InjectedContext): SessionMessages | Promise<SessionMessages> {
    const context = contextOf(injected, '@Messages()');
    const messages = this.messagesOf(context);
    // Guards have run by now, so handlers find known who it is. The default answers at once, whenever it is asked.
    if (!this.authenticator.isCustom || !REQUESTS.has(context.getType())) return messages;
    const { session } = messages;
    // The session of a socket, or of all resolvers of a query, goes on to other guards.
    const found = context.getType() === 'http' ? session.settleAuthentication() : session.authenticated();
    return found instanceof Promise ? found.then(() => messages) : messages;
  }

  private messagesOf(context: ExecutionContext): SessionMessages {
    const { hub, revocations, sessions, local } = this;
    if (context.getType<string>() !== 'message') {
      return new SessionMessages(hub, revocations, sessions, requestOf(context), refuseSignedOut);
    }
    // A singleton's handler has a session of its own only if sessions are found by AsyncLocalStorage.
    return new SessionMessages(hub, revocations, local ?? GIVEN_SESSION, hub.root, refuseSignedOut);
  }
}

/** The object that a session is kept for. Not the context, which leads to everything that has handled the request. */
function requestOf(context: ExecutionContext): unknown {
  switch (context.getType<string>()) {
    case 'http':
      return context.switchToHttp().getRequest();
    case 'ws':
      return context.switchToWs().getClient();
    case 'graphql':
      return graphqlContextOf(context.getArgs());
    case 'rpc':
      return context.switchToRpc().getContext();
    default:
      // Nothing is known about its end. Code that only posts needs no session.
      return NOTHING;
  }
}

/** Resolvers of references and of types have no arguments of the query between the object and the context. */
function graphqlContextOf(args: readonly unknown[]): unknown {
  return args.length === 3 ? args[1] : args[2];
}

/** Whether a handler takes the messages of its session as a parameter. */
export function takesMessages(target: Function, method: string): boolean {
  const parameters = (Reflect.getMetadata(ROUTE_ARGS_METADATA, target, method) ?? {}) as Record<
    string,
    { readonly pipes?: readonly unknown[] }
  >;
  return Object.values(parameters).some(({ pipes }) => pipes?.includes(SessionMessagesPipe) ?? false);
}

/**
 * The request's {@link SessionMessages} as a parameter: for controllers that stay singletons, and for resolvers. In a
 * handler of Nest's microservices, with any transport, the session ends with the handler and the stream that it returns.
 *
 * @example
 * ```ts
 * @Sse('users')
 * users(@Messages() messages: SessionMessages) {
 *   return messages.createStream(UserUpdates);
 * }
 * ```
 */
export function Messages(): ParameterDecorator {
  return injectedParameter('@Messages()', SessionMessagesPipe);
}
