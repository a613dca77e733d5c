import { readOptions } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';
import { MESSAGING_OPTIONS, type MessagingOptions, type ResolvedMessagingOptions } from '../nest/messaging-options.js';
import { GIVEN_OPTIONS } from '../nest/messaging.module.js';
import { resolveOptions } from '../nest/validate-options.js';
import { MemoryBroker } from '../transport/memory-broker.js';
import { MemoryTransport } from '../transport/memory-transport.js';

export { MESSAGING_OPTIONS };

/** Options of messaging in memory: those of `MessagingModule`, without `redis`. */
// oxlint-disable-next-line typescript/no-explicit-any -- as in MessagingOptions
export interface MemoryMessagingOptions<Request = any> extends Omit<MessagingOptions<Request>, 'redis'> {
  /**
   * Joins this server with the others of the same broker, as a Redis would.
   * @defaultValue a broker of its own: the server is alone, and global posts work
   */
  broker?: MemoryBroker | undefined;
}

/** What `overrideProvider(MESSAGING_OPTIONS).useFactory()` takes. */
export interface MemoryOptionsFactory {
  /** Makes the options of a server in memory from those that the application was given. */
  readonly factory: (given: MessagingOptions | undefined) => ResolvedMessagingOptions;
  /** The options that the application was given. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as Nest declares it
  readonly inject: any[];
}

/**
 * Takes an application off its Redis for a test, whatever its `MessagingModule.forRoot()` or `forRootAsync()` is given: the server
 * has a {@link MemoryTransport} instead. Its other options stay.
 *
 * @param options - replace those of the application
 * @throws ConfigurationError for `redis`, and for `transport` beside `broker`
 * @example
 * ```ts
 * const app = await Test.createTestingModule({ imports: [AppModule] })
 *   .overrideProvider(MESSAGING_OPTIONS)
 *   .useFactory(inMemory())
 *   .compile();
 * ```
 */
export function inMemory(options: MemoryMessagingOptions = {}): MemoryOptionsFactory {
  checkMemoryOptions(options, 'inMemory()');
  return {
    factory: (given) => ({
      // Without any, the module was imported by its name alone, which is told as anywhere.
      ...resolveOptions(given && { ...given, redis: undefined, ...memoryOptions(options) }),
      leaveMs: LEAVE_MS,
    }),
    inject: [{ token: GIVEN_OPTIONS, optional: true }],
  };
}

/** Nobody waits for the clients of a test to come back to another server. */
const LEAVE_MS = 0;

/** The options of one server in memory; with a transport of its own each time. */
export function memoryOptions<Options extends MemoryMessagingOptions>({
  broker,
  ...options
}: Options): Omit<Options, 'broker'> & MessagingOptions {
  return { ...options, transport: options.transport ?? new MemoryTransport(broker ?? new MemoryBroker()) };
}

/** @throws ConfigurationError that names the option */
export function checkMemoryOptions(options: object, path: string): void {
  const { redis, transport, broker } = readOptions(options, path);
  if (redis !== undefined) {
    throw new ConfigurationError(
      `${path}: option "redis" is not for messaging in memory; use MessagingModule.forRoot()`,
    );
  }
  if (broker === undefined) return;
  if (!(broker instanceof MemoryBroker)) {
    throw new ConfigurationError(`${path}: option "broker" must be a MemoryBroker, as new MemoryBroker() makes it`);
  }
  if (transport !== undefined) {
    throw new ConfigurationError(`${path}: give either "broker" or "transport", not both`);
  }
}
