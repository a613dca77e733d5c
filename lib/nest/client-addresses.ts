import { BlockList, SocketAddress, isIP } from 'node:net';
import type { ClientAddress } from '../sse/client-limits.js';
import { rawRequest, type HttpRequest } from './http-exchange.js';
import type { LoggingReporter } from './logging-reporter.js';

/** Addresses of proxies and of the same machine or network: many clients may share one. */
const PRIVATE = new BlockList();
for (const [net, bits] of [
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  PRIVATE.addSubnet(net, bits);
}
PRIVATE.addAddress('::1', 'ipv6');
PRIVATE.addSubnet('fc00::', 7, 'ipv6');
PRIVATE.addSubnet('fe80::', 10, 'ipv6');

/** One address for all clients that a trusted proxy names by something other than an address, which may be text of their own. */
const UNKNOWN = 'unknown';

/** Finds the addresses of clients, for the limits of each address. */
export class ClientAddresses {
  private hasHinted = false;

  constructor(private readonly reporter: LoggingReporter) {}

  /** The address of a client, from Express or Fastify: they know which proxies the application trusts. */
  of(request: HttpRequest): ClientAddress {
    const { ip } = request;
    if (typeof ip !== 'string') return undefined;
    const raw = rawRequest(request);
    const isForwarded = ip !== raw.socket?.remoteAddress;
    if (!isForwarded && isForwardedByUntrusted(raw)) this.hint();
    return countedAddress(ip, isForwarded);
  }

  /** Once, because a client can send such a header too. */
  private hint(): void {
    if (this.hasHinted) return;
    this.hasHinted = true;
    this.reporter.warn(
      'untrusted proxy',
      'A request came with a forwarding header through a proxy that this application does not trust: all of its clients count ' +
        'as one address, and not at all if it is a private one. Behind a proxy, name it: app.set("trust proxy", "loopback") on Express, ' +
        'new FastifyAdapter({ trustProxy: "127.0.0.1" }) on Fastify. If there is no proxy, a client made this header up, and it has no effect',
    );
  }
}

/**
 * The address that a client counts by. For IPv6 it is the /64, because one client usually has all of it.
 *
 * @param isForwarded - whether a trusted proxy names it
 * @returns `undefined` for a text that many clients may share, or that is not an address, unless a trusted proxy names it
 */
export function countedAddress(text: string, isForwarded: boolean): ClientAddress {
  const address = withoutPort(text);
  const family = isIP(address);
  if (family === 0) return isForwarded ? UNKNOWN : undefined;
  if (family === 4) return isForwarded || !PRIVATE.check(address) ? address : undefined;
  const written = new SocketAddress({ address: address.split('%')[0]!, family: 'ipv6' }).address;
  const mapped = /^::ffff:([\d.]+)$/.exec(written)?.[1];
  if (mapped !== undefined) return countedAddress(mapped, isForwarded);
  return isForwarded || !PRIVATE.check(written, 'ipv6') ? networkOf(written) : undefined;
}

/** Some proxies add the port. */
function withoutPort(text: string): string {
  return /^\[(.*)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
}

/** The first 64 bits of an IPv6 address in its shortest form. */
function networkOf(address: string): string {
  const [head = [], tail = []] = address.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const last = tail.at(-1)?.includes('.') ? 1 : 0;
  const zeros = address.includes('::') ? 8 - head.length - tail.length - last : 0;
  const groups = [...head, ...Array.from({ length: zeros }, () => '0'), ...tail];
  return `${groups.slice(0, 4).join(':')}::/64`;
}

function isForwardedByUntrusted({ headers }: HttpRequest): boolean {
  return headers?.['x-forwarded-for'] !== undefined || headers?.['forwarded'] !== undefined;
}
