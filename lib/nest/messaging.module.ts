import {
  ConfigurableModuleBuilder,
  Module,
  Optional,
  Scope,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestModule,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import { DiscoveryModule, HttpAdapterHost, ModulesContainer, REQUEST } from '@nestjs/core';
import { whenHeard } from '../core/heard.js';
import { Hub } from '../core/hub.js';
import { inTime } from '../core/in-time.js';
import { Revocations } from '../core/revocations.js';
import { describeServerCopy, fromOtherServerCopy, SERVER_COPY } from '../core/server-copy.js';
import { readOptions } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';
import { Gateway } from '../gateway/gateway.js';
import { ClientLimits } from '../sse/client-limits.js';
import { EventStreams } from '../sse/event-streams.js';
import { Authenticator } from './authenticator.js';
import { createHub } from './create-hub.js';
import { DecoratedMethods } from './decorated-methods.js';
import { AuthorizersByChannel } from './gateway/authorizers-by-channel.js';
import { ClientChannels } from './gateway/client-channels.js';
import { ClientConnections } from './gateway/client-connections.js';
import { createGatewayController } from './gateway/gateway.controller.js';
import { EarlyLimits } from './gateway/early-limits.js';
import { GatewayPaths } from './gateway/gateway-paths.js';
import { PrivateAnswers } from './gateway/private-answers.js';
import { GATEWAY_OPTIONS } from './gateway/gateway-options.js';
import { createGateway } from './gateway/create-gateway.js';
import { installRequestHooks, takeStreamsInTurn } from './http-exchange.js';
import { HttpShutdown } from './http-shutdown.js';
import { LocalSessions } from './local-sessions.js';
import { LoggingReporter } from './logging-reporter.js';
import { StatusLog } from './status-log.js';
import { GapHandlers } from './gap-handlers.js';
import { MessageHandlers } from './message-handlers.js';
import {
  MESSAGING_OPTIONS,
  type IncomingRequest,
  type MessagingModuleAsyncOptions,
  type MessagingModuleExtras,
  type MessagingModuleOptions,
  type MessagingOptions,
  type ResolvedMessagingOptions,
} from './messaging-options.js';
import { MessagingService } from './messaging.service.js';
import { preparePatternHandlers } from './pattern-handlers.js';
import { StartupHints } from './startup-hints.js';
import { startOrClose } from './start-or-close.js';
import { refuseDurableHolders } from './refuse-durable-holders.js';
import { refuseSignedOut } from './refuse-signed-out.js';
import { RequestLimits } from './request-limits.js';
import { RequestSessions } from './request-sessions.js';
import { SessionMessages } from './session-messages.js';
import { askForOptions, checkAsyncOptions, checkExtras, resolveOptions } from './validate-options.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<MessagingOptions>()
  .setClassMethodName('forRoot')
  .setFactoryMethodName('createMessagingOptions')
  .setExtras<MessagingModuleExtras>({ scope: 'request', global: true, gateway: false }, (definition, extras) => {
    checkExtras(extras);
    const { scope, global } = extras;
    const gateway = extras.gateway === true ? {} : extras.gateway || undefined;
    return {
      ...definition,
      global: global ?? true,
      imports: [...(definition.imports ?? []), ...(gateway?.imports ?? [])],
      controllers: gateway ? [createGatewayController(gateway)] : [],
      providers: [
        ...(definition.providers ?? []),
        ...(scope === 'async-local' ? ASYNC_LOCAL : REQUEST_SCOPED),
        ...(gateway ? [{ provide: GATEWAY_OPTIONS, useValue: gateway }, ...GATEWAY] : []),
      ],
      // What decorators need in the modules that use them, beside the two that are injected by name.
      exports: [
        SessionMessages,
        MessagingService,
        Hub,
        Revocations,
        EventStreams,
        RequestLimits,
        RequestSessions,
        Authenticator,
        ClientConnections,
        ...(scope === 'async-local' ? [LocalSessions] : []),
      ],
    };
  })
  .build();

/** The token of the application's options, before the defaults are filled in. @internal */
export const GIVEN_OPTIONS = MODULE_OPTIONS_TOKEN;

/** How long the start waits until it knows the revocations of other servers; messages of those wait on. */
const REVOCATIONS_MS = 5_000;

const REQUEST_SCOPED: Provider[] = [
  {
    provide: SessionMessages,
    scope: Scope.REQUEST,
    inject: [Hub, Revocations, RequestSessions, REQUEST],
    useFactory: (hub: Hub, revocations: Revocations, sessions: RequestSessions, request: unknown) =>
      new SessionMessages(hub, revocations, sessions.finderFor(request), request, refuseSignedOut),
  },
];

const ASYNC_LOCAL: Provider[] = [
  LocalSessions,
  {
    provide: SessionMessages,
    inject: [Hub, Revocations, LocalSessions],
    useFactory: (hub: Hub, revocations: Revocations, local: LocalSessions) =>
      new SessionMessages(hub, revocations, local, undefined, refuseSignedOut),
  },
];

const GATEWAY: Provider[] = [
  {
    provide: Gateway,
    inject: [Hub, EventStreams, ClientLimits, LoggingReporter, ClientChannels, MESSAGING_OPTIONS, GATEWAY_OPTIONS],
    useFactory: createGateway,
  },
  ClientChannels,
  AuthorizersByChannel,
  GatewayPaths,
  PrivateAnswers,
  EarlyLimits,
];

const ENGINE: Provider[] = [
  {
    provide: MESSAGING_OPTIONS,
    // Missing if MessagingModule itself was imported, not forRoot(). Nest's own error would name this token, which nobody knows.
    inject: [{ token: MODULE_OPTIONS_TOKEN, optional: true }],
    useFactory: resolveOptions,
  },
  {
    provide: LoggingReporter,
    inject: [MESSAGING_OPTIONS],
    useFactory: ({ onListenerError }: ResolvedMessagingOptions) => new LoggingReporter(onListenerError),
  },
  { provide: Hub, inject: [MESSAGING_OPTIONS, LoggingReporter], useFactory: createHub },
  { provide: Revocations, inject: [Hub], useFactory: (hub: Hub) => new Revocations(hub) },
  {
    provide: EventStreams,
    inject: [Hub, LoggingReporter, MESSAGING_OPTIONS],
    useFactory: (hub: Hub, reporter: LoggingReporter, { sse }: ResolvedMessagingOptions) =>
      new EventStreams(hub, reporter, sse),
  },
  {
    provide: ClientLimits,
    inject: [MESSAGING_OPTIONS],
    useFactory: ({ limits }: ResolvedMessagingOptions) => new ClientLimits(limits),
  },
];

/**
 * The module: import `MessagingModule.forRoot()` once, in the application's root module. Its providers
 * are global.
 *
 * @example
 * ```ts
 * @Module({ imports: [MessagingModule.forRoot({ redis: process.env.REDIS_URL })] })
 * class AppModule {}
 * ```
 */
@Module({
  imports: [DiscoveryModule],
  providers: [
    ...ENGINE,
    Authenticator,
    RequestLimits,
    RequestSessions,
    MessagingService,
    ClientConnections,
    DecoratedMethods,
    MessageHandlers,
    GapHandlers,
    StartupHints,
  ],
})
export class MessagingModule
  extends ConfigurableModuleClass
  implements NestModule, OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown
{
  private readonly shutdown: HttpShutdown;
  private ended: Promise<void> | undefined = undefined;

  /** @internal */
  constructor(
    private readonly hub: Hub,
    private readonly streams: EventStreams,
    private readonly reporter: LoggingReporter,
    private readonly http: HttpAdapterHost,
    private readonly modules: ModulesContainer,
    private readonly revocations: Revocations,
    @Optional() private readonly local?: LocalSessions,
    @Optional() private readonly gateway?: Gateway,
    @Optional() private readonly answers?: PrivateAnswers,
    @Optional() private readonly early?: EarlyLimits,
  ) {
    super();
    const other = [...modules.values()].find(
      ({ metatype }) => metatype !== MessagingModule && fromOtherServerCopy(metatype),
    );
    if (other !== undefined) throw new ConfigurationError(fromOtherServerCopy(other.metatype)!);
    const count = [...modules.values()].filter(({ metatype }) => metatype === MessagingModule).length;
    if (count > 1) {
      throw new ConfigurationError(
        `MessagingModule is configured ${count} times in this application; the ${count} modules would not hear each other: ` +
          'import MessagingModule.forRoot() once, in the root module: its providers are global',
      );
    }
    this.shutdown = new HttpShutdown(http);
    // Now, since microservices are made of their controllers before any hook of a module is called.
    preparePatternHandlers(modules);
    const { revocations: known } = hub.sessions;
    takeStreamsInTurn(
      http,
      (handle, response) => {
        streams.expect(response);
        streams.queue.add(handle);
      },
      () => known.order,
    );
  }

  /** @internal */
  static get [SERVER_COPY](): string {
    return describeServerCopy('MessagingModule');
  }

  /**
   * Makes the module, for the `imports` of the root module.
   *
   * @throws ConfigurationError for options that are not an object, and for `scope` and `global`; the application does not start with
   *   other wrong options
   */
  static override forRoot<Request = IncomingRequest>(options: MessagingModuleOptions<Request> = {}): DynamicModule {
    return super.forRoot(readOptions(options, 'MessagingModule.forRoot()') as MessagingOptions);
  }

  /** Like {@link forRoot}, with options that a factory makes. */
  static override forRootAsync(options: MessagingModuleAsyncOptions): DynamicModule {
    checkAsyncOptions(options);
    const definition = super.forRootAsync(options as Parameters<typeof ConfigurableModuleClass.forRootAsync>[0]);
    if (options.useFactory) return definition;
    // Nest calls the method without checking that it exists.
    const asked = {
      provide: MODULE_OPTIONS_TOKEN,
      useFactory: askForOptions,
      inject: [options.useClass ?? options.useExisting!],
    };
    return { ...definition, providers: [...(definition.providers ?? []), asked] };
  }

  /** Called by Nest before routes are served. */
  configure(_consumer: MiddlewareConsumer): void {
    const { local } = this;
    this.answers?.hideBodies();
    this.shutdown.watch(() => void this.endStreams());
    installRequestHooks(this.http, local && ((request, handle) => local.run(request, handle)));
    this.early?.install();
  }

  /** Called by Nest: connects to the other servers; fails where that can never succeed. */
  async onModuleInit(): Promise<void> {
    refuseDurableHolders(this.modules);
    const log = new StatusLog(this.reporter);
    this.hub.status.subscribe((status) => log.next(status));
    await startOrClose(this.hub, async () => {
      // Before anything comes from other servers.
      const isKnown = this.revocations.start();
      await this.hub.start();
      log.started();
      await inTime(whenHeard(this.hub, [{ ready: isKnown }]), REVOCATIONS_MS, () => undefined);
    });
  }

  /** Called by Nest while it still serves requests: accepts no more of them from new connections, and ends the event streams. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.endStreams();
  }

  /** Called by Nest when it serves no more: closes the sessions and, when no other server needs this one any more, the transport. */
  async onApplicationShutdown(): Promise<void> {
    this.shutdown.end();
    this.hub.retire();
    await this.gateway?.whenLeft();
    await this.hub.close();
    this.reporter.flush();
  }

  private endStreams(): Promise<void> {
    if (this.ended !== undefined) return this.ended;
    this.streams.aboutToClose();
    this.shutdown.begin();
    return (this.ended = this.streams.drain(this.gateway?.leave()));
  }
}
