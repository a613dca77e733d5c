import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Queue } from './queue.js';

/** What a {@link TcpProxy} does with connections. */
export type ProxyMode = 'pass' | 'refuse' | 'swallow';

/** Stands between a client and a server, and is where the network fails. */
export class TcpProxy implements AsyncDisposable {
  /** What becomes of new connections: passed on, closed at once, or taken and never answered. */
  mode: ProxyMode = 'pass';
  /** When each connection was made. */
  readonly connections = new Queue<number>();
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private target: number,
  ) {
    server.on('connection', (socket) => this.take(socket));
  }

  /** @param target - a port of 127.0.0.1 */
  static async start(target = 0, mode: ProxyMode = 'pass'): Promise<TcpProxy> {
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

  /** Closes the connections that there are. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    this.cut();
    await once(this.server, 'close');
  }

  private take(socket: Socket): void {
    this.connections.push(performance.now());
    this.keep(socket);
    if (this.mode === 'refuse') socket.destroy();
    if (this.mode !== 'pass') return;
    const onward = this.keep(connect(this.target, '127.0.0.1'));
    socket.pipe(onward).pipe(socket);
    socket.on('close', () => onward.destroy());
    onward.on('close', () => socket.destroy());
  }

  private keep(socket: Socket): Socket {
    this.sockets.add(socket);
    return socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
  }
}
