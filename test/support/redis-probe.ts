import { Redis } from 'ioredis';

/** One connection of Redis' `CLIENT LIST`. */
export type RedisClientInfo = Readonly<Record<string, string>>;

/** Observes a Redis from outside, and acts on it, through its own plain connection. */
export class RedisProbe implements Disposable {
  readonly redis: Redis;

  constructor(url: string) {
    this.redis = new Redis(url, { connectionName: 'probe' });
    this.redis.on('error', () => undefined);
  }

  /** All connections but those of probes. */
  async clients(): Promise<RedisClientInfo[]> {
    const list = (await this.redis.client('LIST')) as string;
    const clients = list
      .trim()
      .split('\n')
      .map((line) => Object.fromEntries(line.split(' ').map((field) => field.split(/=(.*)/s) as [string, string])));
    return clients.filter((client) => client['name'] !== 'probe');
  }

  /** Breaks all connections but this one. */
  async cutClients(): Promise<void> {
    for (const { id } of await this.clients()) await this.redis.client('KILL', 'ID', id!);
  }

  /** How often a command was called since the server started, by its name in lower case. */
  async calls(command: string): Promise<number> {
    const info = await this.redis.info('commandstats');
    return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(info)?.[1] ?? 0);
  }

  /** The channels with any subscriber, sorted, without the heartbeat channels of nodes. */
  async channels(): Promise<string[]> {
    const channels = (await this.redis.pubsub('CHANNELS')) as string[];
    return channels.filter((channel) => !channel.includes('messaging:beat/')).toSorted();
  }

  [Symbol.dispose](): void {
    this.redis.disconnect();
  }
}
