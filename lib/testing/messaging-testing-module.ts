import type { DynamicModule } from '@nestjs/common';
import type { IncomingRequest, MessagingModuleExtras } from '../nest/messaging-options.js';
import { MessagingModule } from '../nest/messaging.module.js';
import { checkMemoryOptions, inMemory, MESSAGING_OPTIONS, type MemoryMessagingOptions } from './memory-options.js';

/** Options of `MessagingTestingModule.forRoot()`. */
// oxlint-disable-next-line typescript/no-explicit-any -- as in MessagingOptions
export interface MessagingTestingModuleOptions<Request = any>
  extends MemoryMessagingOptions<Request>, MessagingModuleExtras {}

/**
 * `MessagingModule` in memory, for the tests of modules that rely on one in the root module: no Redis, no port. Global posts work.
 * To test a root module that imports `MessagingModule` itself, see {@link inMemory}.
 *
 * @example
 * ```ts
 * const app = await Test.createTestingModule({ imports: [MessagingTestingModule.forRoot(), AppModule] }).compile();
 * ```
 */
// oxlint-disable-next-line typescript/no-extraneous-class -- a module of Nest, named by its class
export class MessagingTestingModule {
  /**
   * Makes the module, for the `imports` of a testing module.
   *
   * @throws ConfigurationError for options that are not an object, for `redis`, and for `transport` beside `broker`; the application
   *   does not start with other wrong options
   */
  static forRoot<Request = IncomingRequest>(options: MessagingTestingModuleOptions<Request> = {}): DynamicModule {
    checkMemoryOptions(options, 'MessagingTestingModule.forRoot()');
    const { scope, global, gateway, ...messaging } = options;
    const definition = MessagingModule.forRoot({ scope, global, gateway });
    const { factory, inject } = inMemory(messaging);
    const providers = [...(definition.providers ?? []), { provide: MESSAGING_OPTIONS, useFactory: factory, inject }];
    return { ...definition, providers };
  }
}
