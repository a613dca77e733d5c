import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Queue } from './queue.js';

/** What a {@link TcpProxy} does with connections. */
export type ProxyMode = 'pass' | 'refuse' | 'swallow';

/** Which way bytes go: to the server or to the client. */
export type Way = 'up' | 'down';

/** A port of 127.0.0.1, or what finds one for each connection; none: the connection is closed. */
export type ProxyTarget = number | (() => number | undefined);

/** Stands between a client and a server, and is where the network fails. */
export class TcpProxy implements AsyncDisposable {
  /** What becomes of new connections: passed on, closed at once, or taken and never answered. */
  mode: ProxyMode = 'pass';
  /** How long bytes take, in milliseconds. */
  delayMs = 0;
  /** When each connection was made. */
  readonly connections = new Queue<number>();
  private held: (() => void)[] | undefined = undefined;
  private readonly sockets = new Set<Socket>();
  private readonly passed = new Set<PassedConnection>();

  private constructor(
    private readonly server: Server,
    private target: ProxyTarget,
  ) {
    server.on('connection', (socket) => this.take(socket));
  }

  static async start(target: ProxyTarget = 0, mode: ProxyMode = 'pass'): Promise<TcpProxy> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new TcpProxy(server, target);
    proxy.mode = mode;
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Passes new connections on to another port, as a virtual address that moves. */
  retarget(port: number): void {
    this.target = port;
  }

  /** Closes the connections that there are, or one of them: the oldest is 0. */
  cut(connection?: number): void {
    if (connection === undefined) for (const socket of this.sockets) socket.destroy();
    else for (const { client } of this.chosen(connection)) client.destroy();
  }

  /** Lets the connections that there are, or one of them, carry nothing any more; they stay open. */
  mute(way: Way | 'both', connection?: number): void {
    for (const chosen of this.chosen(connection)) {
      if (way !== 'down') chosen.muted.add('up');
      if (way !== 'up') chosen.muted.add('down');
    }
  }

  /** Keeps what comes, on all connections, until {@link release}. */
  hold(): void {
    this.held ??= [];
  }

  release(): void {
    const { held = [] } = this;
    this.held = undefined;
    for (const act of held) act();
  }

  /** Closes the connections that there are for the clients alone: the server goes on in the belief that they are open. */
  orphan(): void {
    for (const connection of this.passed) {
      connection.muted.add('up').add('down');
      connection.isOrphan = true;
      connection.client.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    this.cut();
    await once(this.server, 'close');
  }

  private chosen(connection: number | undefined): readonly PassedConnection[] {
    const all = [...this.passed];
    return connection === undefined || all.length === 0 ? all : [all[connection % all.length]!];
  }

  private take(socket: Socket): void {
    this.connections.push(performance.now());
    this.keep(socket);
    if (this.mode === 'refuse') socket.destroy();
    if (this.mode !== 'pass') return;
    const port = typeof this.target === 'function' ? this.target() : this.target;
    if (port === undefined) return void socket.destroy();
    const onward = this.keep(connect(port, '127.0.0.1'));
    const connection: PassedConnection = { client: socket, muted: new Set(), isOrphan: false };
    this.passed.add(connection);
    this.pass(socket, onward, connection, 'up');
    this.pass(onward, socket, connection, 'down');
    socket.on('close', () => {
      this.passed.delete(connection);
      if (!connection.isOrphan) onward.destroy();
    });
    onward.on('close', () => socket.destroy());
  }

  private pass(from: Socket, to: Socket, { muted }: PassedConnection, way: Way): void {
    const waiting: { readonly dueMs: number; readonly act: () => void }[] = [];
    const go = (): void => {
      const now = performance.now();
      while (waiting.length > 0 && waiting[0]!.dueMs <= now) this.carry(waiting.shift()!.act);
      if (waiting.length > 0) setTimeout(go, Math.ceil(waiting[0]!.dueMs - now));
    };
    /** Nothing overtakes what was delayed. */
    const later = (act: () => void): void => {
      const now = performance.now();
      const dueMs = Math.max(now + this.delayMs, waiting.at(-1)?.dueMs ?? 0);
      if (waiting.length === 0 && this.delayMs === 0) return this.carry(act);
      if (waiting.push({ dueMs, act }) === 1) setTimeout(go, Math.ceil(dueMs - now));
    };
    from.setNoDelay(true);
    from.on('data', (bytes: Buffer) => {
      if (muted.has(way)) return;
      later(() => {
        if (to.destroyed || to.write(bytes)) return;
        from.pause();
        to.once('drain', () => from.resume());
      });
    });
    from.on('end', () => !muted.has(way) && later(() => to.end()));
  }

  private carry(act: () => void): void {
    if (this.held === undefined) act();
    else this.held.push(act);
  }

  private keep(socket: Socket): Socket {
    this.sockets.add(socket);
    return socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
  }
}

interface PassedConnection {
  readonly client: Socket;
  /** The ways in which it carries nothing any more. */
  readonly muted: Set<Way>;
  isOrphan: boolean;
}
