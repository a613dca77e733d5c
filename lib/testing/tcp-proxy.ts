import { checkMode, checkTarget, FaultyLink, listening, type ProxyMode, type ProxyTarget } from './faulty-link.js';

/**
 * Stands in front of a server, so that a test can break the network between them: in front of an application, for its pages. In front of a Redis, see
 * `RedisProxy`.
 *
 * @example
 * ```ts
 * await app.listen(0, '127.0.0.1');
 * await using network = await TcpProxy.start(await app.getUrl());
 * const stream = await fetch(new URL('/orders/updates', network.url));
 * network.cut(); // The stream breaks.
 * ```
 */
export class TcpProxy extends FaultyLink {
  /**
   * Starts a proxy.
   *
   * @param mode - what becomes of connections, from the first one on
   * @throws (rejects) ConfigurationError for a wrong target or mode
   */
  static async start(target: ProxyTarget, mode: ProxyMode = 'pass'): Promise<TcpProxy> {
    checkTarget(target, 'TcpProxy.start()');
    checkMode(mode, 'TcpProxy.start()');
    const proxy = new TcpProxy(await listening(), target);
    proxy.mode = mode;
    return proxy;
  }
}
