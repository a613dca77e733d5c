import type { Position } from '../../lib/protocol/position.js';
import { filter, firstValueFrom } from 'rxjs';
import type { TransportStatus } from '../../lib/core/transport.js';
import type { RedisOption } from '../../lib/transport/redis-options.js';
import { RedisTransport, type RedisTransportSettings } from '../../lib/transport/redis-transport.js';
import { Queue } from './queue.js';
import { RedisProbe } from './redis-probe.js';
import { RedisServer, type RedisServerOptions } from './redis-server.js';

/** The arguments of one call of a receiver. */
export type Received = [payload: string, subscription: string, channel: string, position?: Position | undefined];

/** Redis servers and transports of one test. They end with the test. */
export class RedisNodes implements AsyncDisposable {
  private readonly open: (() => unknown)[] = [];

  /** Ends something with the test. */
  use<T extends AsyncDisposable | Disposable>(resource: T): T {
    this.open.push(() =>
      Symbol.asyncDispose in resource ? resource[Symbol.asyncDispose]() : resource[Symbol.dispose](),
    );
    return resource;
  }

  async server(options?: RedisServerOptions): Promise<RedisServer> {
    return this.use(await RedisServer.start(options));
  }

  probe(server: RedisServer): RedisProbe {
    return this.use(new RedisProbe(server.url));
  }

  create(redis: RedisOption, settings?: RedisTransportSettings): RedisTransport {
    const transport = new RedisTransport(redis, settings);
    this.open.push(() => transport.close());
    return transport;
  }

  /** A ready transport that listens to these names. */
  async node(
    redis: RedisOption,
    names: string[] = [],
    settings?: RedisTransportSettings,
  ): Promise<[RedisTransport, Queue<Received>]> {
    const transport = this.create(redis, settings);
    const received = new Queue<Received>();
    await transport.start((...args) => received.push(args));
    await reached(transport, 'ready');
    await Promise.all(names.map((name) => transport.subscribe(name)));
    return [transport, received];
  }

  /** A ready transport that listens to these names, and the payloads and losses that it receives, in order. */
  async listener(
    redis: RedisOption,
    names: string[],
    settings?: RedisTransportSettings,
  ): Promise<[RedisTransport, Queue<string>]> {
    const transport = this.create(redis, settings);
    const told = new Queue<string>();
    await transport.start((payload, name) => told.push(`${name}: ${payload}`), {
      lost: (name, reason) => told.push(`${name} lost: ${reason}`),
    });
    await reached(transport, 'ready');
    await Promise.all(names.map((name) => transport.subscribe(name)));
    return [transport, told];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.open.splice(0).toReversed()) await end();
  }
}

/** The next such status with this text in its error. */
export function reached(
  transport: Pick<RedisTransport, 'status'>,
  state: TransportStatus['state'],
  text = '',
): Promise<TransportStatus> {
  const fits = (status: TransportStatus): boolean =>
    status.state === state && (status.error?.message ?? '').includes(text);
  return firstValueFrom(transport.status.pipe(filter(fits)));
}

/** All statuses from now on, as text. */
export function recordStatuses(transport: RedisTransport): string[] {
  const statuses: string[] = [];
  transport.status.subscribe(({ state, error }) => statuses.push(`${state}${error ? ` ${error.message}` : ''}`));
  return statuses;
}
