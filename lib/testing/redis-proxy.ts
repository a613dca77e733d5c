import { once } from 'node:events';
import { connect, type Server } from 'node:net';
import { describe } from '../protocol/channel-name.js';
import { checkOptions, text } from '../protocol/check-options.js';
import { ConfigurationError, ConnectionClosedError } from '../protocol/errors.js';
import { channelOf, RedisReplies } from './redis-replies.js';
import { addressOf, FaultyLink, listening, type Address, type BytesFilter } from './faulty-link.js';
import { awaitedOrNot } from './received-messages.js';

const DEFAULT_URL = 'redis://127.0.0.1:6379';
/** That of `MessagingModule`. */
const DEFAULT_PREFIX = 'messaging:';

/** Deletes the keys that begin with the argument. */
const WIPE = `for _, key in ipairs(redis.call('KEYS', '*')) do
  if string.sub(key, 1, #ARGV[1]) == ARGV[1] then redis.call('DEL', key) end
end
return 0`;

/** A message that is to be dropped. */
interface Drop {
  readonly channel: string;
  readonly done: () => void;
  readonly fail: (error: Error) => void;
}

/**
 * Stands between one server of an application and a real Redis, so that a test can break the link between them. Other servers with a proxy of their own, or
 * none, go on. Not for a Cluster or Sentinels, whose members name addresses of their own.
 *
 * @example
 * ```ts
 * await using redis = await RedisProxy.start('redis://127.0.0.1:6379');
 * MessagingModule.forRoot({ redis: redis.url });
 * redis.refuse(); // Redis is away for this server.
 * redis.accept();
 * ```
 */
export class RedisProxy extends FaultyLink {
  private readonly drops: Drop[] = [];

  private constructor(
    server: Server,
    private readonly redis: string,
  ) {
    super(server, redis);
  }

  /**
   * Starts a proxy.
   *
   * @param url - of the Redis
   * @throws (rejects) ConfigurationError for anything but a URL as `redis://host:port`
   */
  static async start(url: string = DEFAULT_URL): Promise<RedisProxy> {
    if (typeof url !== 'string' || !url.startsWith('redis://') || !URL.canParse(url)) {
      throw new ConfigurationError(
        `RedisProxy.start(): the Redis must be a URL as redis://host:port, not ${JSON.stringify(url)}; a proxy cannot read TLS`,
      );
    }
    return new RedisProxy(await listening(), url);
  }

  /**
   * Takes out the next message of a channel that Redis sends through this proxy; messages that were posted together go together. The connection stays as it is.
   * A channel with history notices that, and reads the message.
   *
   * @returns resolves when that has happened; rejects if the proxy is closed first
   * @throws ConfigurationError for anything but a channel or its name
   */
  dropNext(channel: string | { readonly name: string }): Promise<void> {
    const name: unknown = typeof channel === 'string' ? channel : (channel as typeof channel | null)?.name;
    if (typeof name !== 'string') {
      throw new ConfigurationError(`dropNext(): give it a channel or its name, not ${describe(channel)}`);
    }
    return awaitedOrNot(new Promise((done, fail) => this.drops.push({ channel: name, done, fail })));
  }

  /**
   * Deletes all that the library keeps in this Redis: histories, and revocations. Like a Redis that has lost its data. Goes around the proxy.
   *
   * @param prefix - the option `prefix` of the module
   * @throws (rejects) Error if Redis cannot be reached, or refuses; ConfigurationError for a prefix that is not a string
   */
  async wipe(prefix: string = DEFAULT_PREFIX): Promise<void> {
    checkOptions({ prefix }, 'wipe()', { prefix: text });
    const { username, password, pathname } = new URL(this.redis);
    const commands = [['EVAL', WIPE, '0', prefix]];
    if (pathname.length > 1) commands.unshift(['SELECT', pathname.slice(1)]);
    const signIn = [username, password].filter((part) => part !== '').map(decodeURIComponent);
    if (signIn.length > 0) commands.unshift(['AUTH', ...signIn]);
    await ask(addressOf(this.redis), commands);
  }

  /** Closes all connections, and the port. */
  override async [Symbol.asyncDispose](): Promise<void> {
    for (const { channel, fail } of this.drops.splice(0)) {
      fail(new ConnectionClosedError(`RedisProxy: it was disposed of before a message of ${channel} came`));
    }
    await super[Symbol.asyncDispose]();
  }

  protected override filter(): BytesFilter {
    const replies = new RedisReplies();
    return (bytes) => Buffer.concat(replies.take(bytes).filter((reply) => !this.isDropped(reply)));
  }

  private isDropped(reply: Buffer): boolean {
    if (this.drops.length === 0) return false;
    const name = channelOf(reply);
    // Before the name stands the prefix, or nothing with `interop`.
    const index = this.drops.findIndex(({ channel }) => name === channel || name?.endsWith(`|${channel}`));
    if (index < 0) return false;
    this.drops.splice(index, 1)[0]!.done();
    return true;
  }
}

/** Asks a Redis one thing after the other; each is answered in one line. */
async function ask({ host, port }: Address, commands: readonly (readonly string[])[]): Promise<void> {
  const socket = connect(port, host);
  try {
    await once(socket, 'connect');
    for (const parts of commands) {
      const bulks = parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
      socket.write(`*${parts.length}\r\n${bulks.join('')}`);
      const [answer] = (await once(socket, 'data')) as [Buffer];
      const [line] = answer.toString().split('\r\n');
      if (line!.startsWith('-')) throw new Error(`Redis refuses ${parts[0]}: ${line!.slice(1)}`);
    }
  } finally {
    socket.destroy();
  }
}
