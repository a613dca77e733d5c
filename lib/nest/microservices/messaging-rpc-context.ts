import { BaseRpcContext } from '@nestjs/microservices';
import type { MessageContext } from '../../core/message-context.js';
import type { Session } from '../../core/session.js';
import { NOT_FOR_PIPES } from '../pattern-handlers.js';

/**
 * What a handler that a `MessagingServer` serves gets by `@Ctx()`.
 *
 * @example
 * ```ts
 * @EventPattern<string>('rooms/:roomId')
 * said(@Payload() message: ChatMessage, @Ctx() context: MessagingRpcContext) {
 *   this.log(context.getParams()['roomId'], message);
 * }
 * ```
 */
export class MessagingRpcContext extends BaseRpcContext<[channel: string, message: MessageContext]> {
  /** @internal */
  static readonly [NOT_FOR_PIPES] = true;

  /**
   * The session of this one message: it closes when the handler and the stream that it gave have ended,
   * when the caller does not want the answer any more, or when the server closes.
   */
  readonly session: Session;

  /** @internal */
  constructor(channel: string, message: MessageContext, session: Session) {
    super([channel, message]);
    this.session = session;
  }

  /** The name that the event or request was sent to: the pattern, parameters filled in. */
  getChannel(): string {
    return this.args[0];
  }

  /** The parameters of a pattern such as `rooms/:roomId`; else empty. */
  getParams(): Readonly<Record<string, string>> {
    return this.args[1].params;
  }

  /** Where the message came from and when. The channel of a request is one of the library's own: see {@link getChannel}. */
  getMessageContext(): MessageContext {
    return this.args[1];
  }

  /** Aborted when the {@link session} closes: pass it on to what the handler starts. */
  get signal(): AbortSignal {
    return this.session.signal;
  }
}

/** Runs the handling of one message: makes its context, and ends with it what belongs to the message. */
export type HandleMessage = (
  channel: string,
  message: MessageContext,
  run: (context: MessagingRpcContext) => Promise<unknown>,
) => Promise<void>;
