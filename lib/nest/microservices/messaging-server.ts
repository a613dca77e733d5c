import type { INestApplicationContext } from '@nestjs/common';
import { Server, RpcException, type CustomTransportStrategy, type MessageHandler, type MsPattern } from '@nestjs/microservices';
import { BehaviorSubject, defer, filter, lastValueFrom, takeUntil, type Observable } from 'rxjs';
import type { MessageContext } from '../../core/delivery.js';
import type { Hub } from '../../core/hub.js';
import type { Session } from '../../core/session.js';
import { Channel, ChannelTemplate, type AnyListenableChannel } from '../../protocol/channel.js';
import { describe } from '../../protocol/channel-name.js';
import { ConfigurationError } from '../../protocol/errors.js';
import { MessagingService } from '../messaging.service.js';
import { hubOf } from './hub-of.js';
import { linkStatus, whenHeard, type LinkStatus } from './link-status.js';
import { MessagingRpcContext } from './messaging-rpc-context.js';
import { eventChannel, requestChannel } from './pattern.js';
import { Responder } from './responder.js';

/**
 * Names this transport in the decorators of an application that serves several:
 * `@EventPattern('user_updates', MESSAGING_TRANSPORT)`. Without it a handler is served by all of them.
 */
export const MESSAGING_TRANSPORT = Symbol('nestjs-messaging');

interface EventHandler {
  readonly channel: AnyListenableChannel;
  readonly label: string;
  readonly handler: MessageHandler;
}

/**
 * Serves the `@EventPattern` and `@MessagePattern` handlers of an application over its messages.
 *
 * An event handler listens to the channel that its pattern names, like any listener. A request is
 * answered by every server that has a handler for it; the caller takes the answers of the first.
 *
 * @example
 * ```ts
 * const app = await NestFactory.create(AppModule);
 * app.connectMicroservice({ strategy: MessagingServer.of(app) });
 * await app.startAllMicroservices();
 * await app.listen(3000);
 * ```
 */
export class MessagingServer extends Server<Record<never, never>, LinkStatus> implements CustomTransportStrategy {
  override readonly transportId = MESSAGING_TRANSPORT;
  /** What a handler of an event fails with is reported as a listener's failure is. */
  override readonly propagatesEventHandlerErrors = true;
  private readonly hub: Hub;
  private readonly events: EventHandler[] = [];
  private readonly responders = new Map<string, Responder>();
  private readonly isOpen = new BehaviorSubject(false);
  private session: Session | undefined = undefined;

  /**
   * @throws ConfigurationError for anything but a MessagingService
   */
  constructor(private readonly messaging: MessagingService) {
    super();
    this.hub = hubOf(messaging, 'new MessagingServer()');
  }

  /** The server of an application that imports `MessagingModule.forRoot()`. */
  static of(app: INestApplicationContext): MessagingServer {
    return new MessagingServer(app.get(MessagingService, { strict: false }));
  }

  /** How the link to the other servers is; `disconnected` before the microservice has started and after its end. */
  override get status(): Observable<LinkStatus> {
    return linkStatus(this.hub, this.isOpen);
  }

  /**
   * Called by Nest with each decorated method.
   *
   * @throws InvalidChannelError for a pattern that is no channel name
   */
  override addHandler(
    pattern: unknown,
    handler: MessageHandler,
    isEventHandler = false,
    extras: Record<string, unknown> = {},
  ): void {
    const route = this.normalizePattern(pattern as MsPattern);
    const label = `@${isEventHandler ? 'EventPattern' : 'MessagePattern'}(${describe(route)})`;
    handler.isEventHandler = isEventHandler;
    handler.extras = extras;
    if (isEventHandler) {
      this.events.push({ channel: eventChannel(pattern, route, label), label, handler });
    } else {
      if (this.responders.has(route)) this.logger.warn(`${label} is there twice; the later handler answers`);
      this.responders.set(route, new Responder(this.hub, requestChannel(route, label), label, handler, this));
    }
    // For those who ask for getHandlers(); the chain of Nest has no place for a pattern with handlers of both kinds.
    if (!this.messageHandlers.has(route)) this.messageHandlers.set(route, handler);
  }

  /** Called by Nest: begins to listen, and calls back once nothing can be missed, or the broker cannot be reached. */
  override listen(callback: (error?: unknown) => unknown): void {
    this.start().then(() => callback(), callback);
  }

  /** Called by Nest: ends everything. Requests that are being answered end with an error, at their callers. */
  override async close(): Promise<void> {
    this.session?.close();
    this.isOpen.next(false);
    await Promise.all([...this.responders.values()].map((responder) => responder.close()));
  }

  /** There are no events: see {@link status}. */
  override on(): never {
    throw new ConfigurationError('MessagingServer has no events to listen to; subscribe to its `status`');
  }

  /** The MessagingService that it was made with. */
  override unwrap<T = MessagingService>(): T {
    return this.messaging as T;
  }

  protected override normalizePattern(pattern: MsPattern): string {
    const channel: unknown = pattern;
    return channel instanceof Channel || channel instanceof ChannelTemplate ? channel.name : super.normalizePattern(pattern);
  }

  /**
   * Handles one message: makes its context, runs Nest's hooks and the handler, and ends what belongs to the message.
   *
   * @internal
   */
  async handle(
    channel: string,
    message: MessageContext,
    run: (context: MessagingRpcContext) => Promise<unknown>,
  ): Promise<void> {
    const context = new MessagingRpcContext(channel, message, this.hub.sessions.open());
    // Nest 11.0 has no hooks.
    const start = this.onProcessingStartHook ?? ((_transport, _context, done) => void done());
    try {
      await new Promise<void>((resolve, reject) => {
        start(this.transportId, context, () => run(context).then(() => resolve(), reject));
      });
    } finally {
      context.session.close();
      this.onProcessingEndHook?.(this.transportId, context);
    }
  }

  private async start(): Promise<void> {
    const { hub } = this;
    const session = hub.sessions.open();
    session.assertOpen('listen');
    this.session = session;
    const listeners = [
      ...this.events.map((event) =>
        hub.listen(event.channel, (data, message) => this.handleEventMessage(event, data, message), session, event.label),
      ),
      ...[...this.responders.values()].map((responder) =>
        hub.listen(responder.channel, (packet, message) => responder.receive(packet, message), session, responder.label),
      ),
    ];
    this.isOpen.next(true);
    await whenHeard(hub, listeners);
  }

  private async handleEventMessage({ handler }: EventHandler, data: unknown, message: MessageContext): Promise<void> {
    await this.handle(message.channel, message, async (context) => {
      const results = defer(() => this.transformToObservable(handler(data, context) as unknown));
      const closed = this.isOpen.pipe(filter((isOpen) => !isOpen));
      try {
        await lastValueFrom(results.pipe(takeUntil(closed)), { defaultValue: undefined });
      } catch (error) {
        // Nest's filters give plain objects, which the log would not show.
        throw error instanceof Error ? error : new RpcException(error as object);
      }
    });
  }
}
