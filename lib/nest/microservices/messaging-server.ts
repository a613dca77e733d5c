import type { INestApplicationContext } from '@nestjs/common';
import { Server, type CustomTransportStrategy, type MessageHandler, type MsPattern } from '@nestjs/microservices';
import { BehaviorSubject, type Observable } from 'rxjs';
import { whenHeard } from '../../core/heard.js';
import type { Hub } from '../../core/hub.js';
import type { Session } from '../../core/session.js';
import { isChannel } from '../../protocol/channel.js';
import { describe } from '../../protocol/channel-name.js';
import { ConfigurationError } from '../../protocol/errors.js';
import { MessagingService } from '../messaging.service.js';
import { EventReceiver } from './event-receiver.js';
import { hubOf } from './hub-of.js';
import { linkStatus, type LinkStatus } from './link-status.js';
import { MessagingRpcContext, type HandleMessage } from './messaging-rpc-context.js';
import { eventChannel, requestChannel } from './pattern.js';
import { Responder } from './responder.js';

/**
 * Names this transport in the decorators of an application that serves several:
 * `@EventPattern('user_updates', MESSAGING_TRANSPORT)`. Without it a handler is served by all of them.
 */
export const MESSAGING_TRANSPORT = Symbol('nestjs-messaging');

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
export class MessagingServer extends Server<Record<string, never>, LinkStatus> implements CustomTransportStrategy {
  override readonly transportId = MESSAGING_TRANSPORT;
  /** What a handler of an event fails with is reported as a listener's failure is. */
  override readonly propagatesEventHandlerErrors = true;
  private readonly hub: Hub;
  private readonly events: EventReceiver[] = [];
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
      const channel = eventChannel(pattern, route, label);
      const { reporter } = this.hub;
      this.events.push(new EventReceiver(channel, label, handler, this, this.handle, reporter));
    } else {
      if (this.responders.has(route)) this.logger.warn(`${label} has two handlers; the later one answers`);
      const channel = requestChannel(route, label);
      this.responders.set(route, new Responder(this.hub, channel, label, handler, this, this.handle));
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
    await Promise.all(this.receivers.map(async (receiver) => receiver.close()));
  }

  /** There are no events: see {@link status}. */
  override on(): never {
    throw new ConfigurationError('MessagingServer has no events to listen to; subscribe to its `status`');
  }

  /** The MessagingService that it was made with. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- Nest's signature
  override unwrap<T = MessagingService>(): T {
    return this.messaging as T;
  }

  protected override normalizePattern(pattern: MsPattern): string {
    const channel: unknown = pattern;
    return isChannel(channel) ? channel.name : super.normalizePattern(pattern);
  }

  private get receivers(): (EventReceiver | Responder)[] {
    return [...this.events, ...this.responders.values()];
  }

  private async start(): Promise<void> {
    const { hub } = this;
    const session = hub.sessions.open();
    session.assertOpen('listen');
    this.session = session;
    const listeners = this.receivers.map((receiver) =>
      hub.listen(receiver.channel, (data, message) => receiver.receive(data, message), session, receiver.label),
    );
    this.isOpen.next(true);
    await whenHeard(hub, listeners);
  }

  /** What a handler calls finds the message's session, and not that of the request that the message was sent from. */
  private runLocally(context: MessagingRpcContext, run: (context: MessagingRpcContext) => Promise<unknown>) {
    const local = this.messaging['local'];
    return local === undefined ? run(context) : local.run(context, () => run(context));
  }

  private readonly handle: HandleMessage = async (channel, message, run) => {
    const context = new MessagingRpcContext(channel, message, this.hub.sessions.open());
    // Nest 11.0 has no hooks.
    const start = this.onProcessingStartHook ?? ((_transport, _context, done) => void done());
    try {
      await new Promise<void>((resolve, reject) => {
        const started: unknown = start(this.transportId, context, () =>
          this.runLocally(context, run).then(() => resolve(), reject),
        );
        // A hook may be async, and reject before it has called.
        Promise.resolve(started).catch(reject);
      });
    } finally {
      context.session.close();
      this.onProcessingEndHook?.(this.transportId, context);
    }
  };
}
