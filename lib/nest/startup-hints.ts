import { Injectable, Optional, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import type { Server } from 'node:net';
import { Gateway } from '../gateway/gateway.js';
import { DecoratedMethods } from './decorated-methods.js';
import { authorizationsOf } from './gateway/authorize-channel.decorator.js';
import { isGatewayController } from './gateway/gateway.controller.js';
import { findSharedRoute, routesOf } from './gateway/shared-routes.js';
import { LoggingReporter } from './logging-reporter.js';

/** How long after the start of listening an application may still enable shutdown hooks, in milliseconds. */
const PATIENCE_MS = 1_000;

/** Environment variables of test runners, where shutdown hooks are of no use. */
const TEST_RUNNERS = ['JEST_WORKER_ID', 'VITEST', 'NODE_TEST_CONTEXT'];

/** Warns once, at the start, about settings that work but are probably a mistake. */
@Injectable()
export class StartupHints implements OnApplicationBootstrap {
  constructor(
    private readonly methods: DecoratedMethods,
    private readonly reporter: LoggingReporter,
    private readonly http: HttpAdapterHost,
    private readonly modules: ModulesContainer,
    @Optional() private readonly gateway?: Gateway,
  ) {}

  onApplicationBootstrap(): void {
    if (this.gateway === undefined) this.lookForAuthorizers();
    else this.lookForSharedRoutes();
    const server = this.http.httpAdapter?.getHttpServer() as Partial<Server> | undefined;
    if (!isTest()) server?.once?.('listening', () => setTimeout(() => this.lookForHooks(), PATIENCE_MS).unref());
  }

  private lookForAuthorizers(): void {
    const [first] = this.methods.finder(authorizationsOf)();
    if (first === undefined) return;
    this.reporter.warn(
      'no gateway',
      `@AuthorizeChannel on ${first.label} is never called, because clients have no gateway to subscribe through. ` +
        'Open one with MessagingModule.forRoot({ gateway: true })',
    );
  }

  private lookForSharedRoutes(): void {
    const handlers = this.methods.finder(routesOf)();
    const shared = findSharedRoute(handlers, isGatewayController, this.modules.applicationId);
    if (shared === undefined) return;
    this.reporter.warn(
      'shared route',
      `${shared.label} and the gateway both answer ${shared.route}, so one of them is never reached. ` +
        "Move the gateway with MessagingModule.forRoot({ gateway: { path: '…' } })",
    );
  }

  private lookForHooks(): void {
    // Nest listens if the application has enabled hooks. Any other listener ends the process in its own way.
    if (process.listenerCount('SIGTERM') > 0) return;
    this.reporter.warn(
      'no shutdown hooks',
      'This application has no shutdown hooks: on SIGTERM its event streams break off, and posts that Redis has not taken yet are lost. ' +
        'Call app.enableShutdownHooks() before app.listen()',
    );
  }
}

function isTest(): boolean {
  return process.env['NODE_ENV'] === 'test' || TEST_RUNNERS.some((variable) => process.env[variable] !== undefined);
}
