import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { describe } from '../protocol/channel-name.js';
import { checkOptions, oneOf, wholeNumber } from '../protocol/check-options.js';
import { ConfigurationError, ConnectionClosedError } from '../protocol/errors.js';
import { Arrived, type ReceivedMessages } from './received-messages.js';

/** What a {@link FaultyLink} does with new connections. */
export type ProxyMode = 'pass' | 'refuse' | 'swallow';

/** Which way bytes go: to the server or to the client. */
export type Way = 'up' | 'down';

/** A URL with a port, a port of 127.0.0.1, or what finds one for each connection; if it finds none, the connection is closed. */
export type ProxyTarget = string | number | (() => number | undefined);

/** Where something listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A connection through the proxy. */
interface Passage {
  readonly client: Socket;
  /** The ways in which it carries nothing any more. */
  readonly muted: Set<Way>;
  /** What waits in a way until {@link FaultyLink.flow}. */
  readonly stalled: Map<Way, (() => void)[]>;
  isOrphan: boolean;
}

/** What comes from a server: gives the bytes to pass on. One for each connection. */
export type BytesFilter = (bytes: Buffer) => Buffer;

/** A server on a free port of 127.0.0.1 that passes connections on to another one, and fails as a network does when a test says so. */
export abstract class FaultyLink implements AsyncDisposable {
  private currentMode: ProxyMode = 'pass';
  private currentDelayMs = 0;
  private readonly made = new Arrived<number>();
  private held: (() => void)[] | undefined = undefined;
  private readonly sockets = new Set<Socket>();
  private readonly passages = new Set<Passage>();

  /** @internal */
  protected constructor(
    private readonly server: Server,
    private target: ProxyTarget,
  ) {
    server.on('connection', (socket) => this.take(socket));
  }

  /**
   * What becomes of new connections: passed on, closed at once, or taken and never answered.
   * @defaultValue 'pass'
   */
  get mode(): ProxyMode {
    return this.currentMode;
  }

  /** @throws ConfigurationError for anything else */
  set mode(mode: ProxyMode) {
    checkMode(mode, this.constructor.name);
    this.currentMode = mode;
  }

  /**
   * How long bytes take, in milliseconds: a whole number.
   * @defaultValue 0
   */
  get delayMs(): number {
    return this.currentDelayMs;
  }

  /** @throws ConfigurationError for anything else */
  set delayMs(delayMs: number) {
    checkOptions({ delayMs: delayMs ?? null }, this.constructor.name, { delayMs: wholeNumber(0) });
    this.currentDelayMs = delayMs;
  }

  /** The port of 127.0.0.1 to connect to. */
  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The target's URL with this proxy as its host, if the target is a URL; otherwise `tcp://127.0.0.1:port`. */
  get url(): string {
    const url = new URL(typeof this.target === 'string' ? this.target : 'tcp://127.0.0.1');
    url.host = `127.0.0.1:${this.port}`;
    return url.href;
  }

  /** When each connection was made, by `performance.now()`: a test awaits the next one. It rejects once the proxy is closed. */
  get connections(): ReceivedMessages<number, undefined> {
    return this.made;
  }

  /**
   * Passes new connections on to somewhere else, as a virtual address that moves.
   *
   * @throws ConfigurationError for a wrong target
   */
  retarget(target: ProxyTarget): void {
    checkTarget(target, 'retarget()');
    this.target = target;
  }

  /**
   * Closes the connections that there are. New ones are passed on.
   *
   * @param connection - the only one to close, by its age among those that there are: the oldest is 0
   * @throws ConfigurationError for anything but a whole number
   */
  cut(connection?: number): void {
    const chosen = this.chosen(connection, 'cut()');
    if (connection === undefined) for (const socket of this.sockets) socket.destroy();
    else for (const { client } of chosen) client.destroy();
  }

  /** Closes the connections that there are, and new ones at once, until {@link accept}. */
  refuse(): void {
    this.mode = 'refuse';
    this.cut();
  }

  /** Passes new connections on again. */
  accept(): void {
    this.mode = 'pass';
  }

  /**
   * Lets the connections that there are carry nothing any more, for good. They stay open, and neither end is told. What is sent meanwhile is lost.
   *
   * @param way - the only way that is lost
   * @param connection - the only one, by its age among those that there are: the oldest is 0
   * @throws ConfigurationError for another way, and for a connection that is not a whole number
   */
  mute(way: Way | 'both' = 'both', connection?: number): void {
    checkOptions({ way }, 'mute()', { way: oneOf('up', 'down', 'both') });
    for (const { muted } of this.chosen(connection, 'mute()')) {
      if (way !== 'down') muted.add('up');
      if (way !== 'up') muted.add('down');
    }
  }

  /** Keeps what comes, on all connections, until {@link resume}. They stay open, and nothing is lost. */
  pause(): void {
    this.held ??= [];
  }

  /** Passes on what {@link pause} has kept, and what comes from now on. */
  resume(): void {
    const { held = [] } = this;
    this.held = undefined;
    for (const act of held) act();
  }

  /** Keeps what comes one way, or both, over the connections that there are, even if their clients end them, until {@link flow}. @internal */
  stall(way: Way | 'both' = 'both', connection?: number): void {
    for (const { stalled } of this.chosen(connection, 'stall()')) {
      if (way !== 'down') stalled.set('up', []);
      if (way !== 'up') stalled.set('down', []);
    }
  }

  /** Passes on what {@link stall} has kept. @internal */
  flow(): void {
    for (const { stalled } of [...this.passages]) {
      const acts = [...stalled.values()].flat();
      stalled.clear();
      for (const act of acts) act();
    }
  }

  /** Closes the connections that there are for the clients alone: the server goes on in the belief that they are open. */
  orphan(): void {
    for (const passage of this.passages) {
      passage.muted.add('up').add('down');
      passage.isOrphan = true;
      passage.client.destroy();
    }
  }

  /** Closes all connections, and the port. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.made.end(new ConnectionClosedError(`${this.constructor.name}: it was disposed of`));
    this.server.close();
    this.cut();
    await once(this.server, 'close');
  }

  /** Makes what the bytes from the server pass, for one connection. @internal */
  protected filter(): BytesFilter {
    return (bytes) => bytes;
  }

  private chosen(connection: number | undefined, path: string): readonly Passage[] {
    checkOptions({ connection }, path, { connection: wholeNumber(0) });
    const all = [...this.passages];
    return connection === undefined || all.length === 0 ? all : [all[connection % all.length]!];
  }

  private take(socket: Socket): void {
    this.made.add(performance.now());
    this.keep(socket);
    if (this.mode === 'refuse') socket.destroy();
    if (this.mode !== 'pass') return;
    const target = typeof this.target === 'function' ? this.target() : this.target;
    if (target === undefined) return void socket.destroy();
    checkTarget(target, 'The function that finds the target');
    const address = addressOf(target);
    const onward = this.keep(connect(address.port, address.host));
    const passage: Passage = { client: socket, muted: new Set(), stalled: new Map(), isOrphan: false };
    this.passages.add(passage);
    this.pass(socket, onward, passage, 'up', (bytes) => bytes);
    this.pass(onward, socket, passage, 'down', this.filter());
    socket.on('close', () => {
      const waiting = passage.stalled.get('up');
      const end = (): void => {
        this.passages.delete(passage);
        if (passage.isOrphan) return;
        if (waiting === undefined) onward.destroy();
        else onward.destroySoon();
      };
      if (waiting === undefined) end();
      else waiting.push(end);
    });
    onward.on('close', () => socket.destroy());
  }

  private pass(from: Socket, to: Socket, { muted, stalled }: Passage, way: Way, filter: BytesFilter): void {
    const waiting: { readonly dueMs: number; readonly act: () => void }[] = [];
    const go = (): void => {
      const now = performance.now();
      while (waiting.length > 0 && waiting[0]!.dueMs <= now) this.carry(waiting.shift()!.act, stalled.get(way));
      if (waiting.length > 0) setTimeout(go, Math.ceil(waiting[0]!.dueMs - now));
    };
    /** Nothing overtakes what was delayed. */
    const later = (act: () => void): void => {
      const now = performance.now();
      const dueMs = Math.max(now + this.delayMs, waiting.at(-1)?.dueMs ?? 0);
      if (waiting.length === 0 && this.delayMs === 0) return this.carry(act, stalled.get(way));
      if (waiting.push({ dueMs, act }) === 1) setTimeout(go, Math.ceil(dueMs - now));
    };
    from.setNoDelay(true);
    from.on('data', (bytes: Buffer) => {
      if (muted.has(way)) return;
      const passed = filter(bytes);
      if (passed.length === 0) return;
      later(() => {
        if (to.destroyed || to.write(passed)) return;
        from.pause();
        to.once('drain', () => from.resume());
      });
    });
    from.on('end', () => !muted.has(way) && later(() => to.end()));
  }

  private carry(act: () => void, held = this.held): void {
    if (held === undefined) act();
    else held.push(act);
  }

  private keep(socket: Socket): Socket {
    this.sockets.add(socket);
    return socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
  }
}

/** A server that listens on a free port of 127.0.0.1. It keeps no process alive: nobody is behind it. */
export async function listening(): Promise<Server> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref();
  return server;
}

/** @param url - or a port of 127.0.0.1 */
export function addressOf(url: string | number): Address {
  if (typeof url !== 'string') return { host: '127.0.0.1', port: url };
  const { protocol, hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || DEFAULT_PORTS[protocol]) };
}

/** @throws ConfigurationError for anything but a mode */
export function checkMode(mode: unknown, path: string): void {
  checkOptions({ mode: mode ?? null }, path, { mode: oneOf('pass', 'refuse', 'swallow') });
}

/** @throws ConfigurationError for a target that no connection can be made to */
export function checkTarget(target: unknown, path: string): void {
  if (typeof target === 'function') return;
  if (typeof target === 'number' && Number.isInteger(target) && target > 0 && target < 65_536) return;
  if (typeof target === 'string' && URL.canParse(target) && addressOf(target).port > 0) return;
  throw new ConfigurationError(
    `${path}: the target must be a URL with a port, a port or a function, not ${describe(target)}`,
  );
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443, 'redis:': 6379 };
