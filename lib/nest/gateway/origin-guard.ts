import { ForbiddenException, Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { describe, quote } from '../../protocol/channel-name.js';
import { LoggingReporter } from '../logging-reporter.js';
import { GATEWAY_OPTIONS, type GatewayOptions } from './gateway-options.js';

/** How many foreign origins the log names. */
const MAX_TOLD = 10;
const DEFAULT_PORT = /:(?:80|443)$/;

type HeaderValue = number | string | readonly string[] | undefined;

/** A request as both adapters hand it out. */
interface BrowserRequest {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** From the adapter, which may take it from a proxy that it trusts. */
  readonly host?: unknown;
}

/** A response as both adapters hand it out, before anything is sent. */
interface BrowserResponse {
  getHeader(name: string): HeaderValue;
  /** Fastify: node's response. */
  readonly raw?: { getHeader(name: string): HeaderValue };
}

/**
 * Refuses requests that pages of other sites make, because the browser adds its user's cookies to them. Pages of another origin
 * are let in if the application's CORS or the option `origins` allows it. Clients other than browsers send no origin.
 */
@Injectable()
export class OriginGuard implements CanActivate {
  private readonly allowed: ReadonlySet<string>;
  private readonly told = new Set<string>();

  constructor(
    private readonly reporter: LoggingReporter,
    @Inject(GATEWAY_OPTIONS) { origins = [] }: GatewayOptions,
  ) {
    this.allowed = new Set(origins);
  }

  /** @throws ForbiddenException for a page of an origin that is not let in */
  canActivate(context: ExecutionContext): boolean {
    const http = context.switchToHttp();
    const request = http.getRequest<BrowserRequest>();
    if (this.isAllowed(request, http.getResponse())) return true;
    this.tell(request);
    throw new ForbiddenException('A page of this origin may not ask here');
  }

  private isAllowed(request: BrowserRequest, response: BrowserResponse): boolean {
    const { origin, 'sec-fetch-site': site } = request.headers;
    // The browser compares the page's origin with the URL itself, so a proxy that changes the host does not matter.
    if (site === 'same-origin' || site === 'none') return true;
    if (typeof origin !== 'string') return site === undefined && origin === undefined;
    if (this.allowed.has(origin)) return true;
    const byCors =
      response.getHeader('access-control-allow-origin') ?? response.raw?.getHeader('access-control-allow-origin');
    if (byCors === origin || byCors === '*') return true;
    return site === undefined && hostsOf(request).includes(hostOf(origin));
  }

  private tell(request: BrowserRequest): void {
    const { origin } = request.headers;
    const from = typeof origin === 'string' ? quote(origin) : 'another site';
    if (this.told.has(from) || this.told.size === MAX_TOLD) return;
    this.told.add(from);
    this.reporter.warn(
      'origin',
      `A page of ${from} asked the gateway, whose host is ${describe(hostsOf(request)[0])}, and was answered 403. If pages of this ` +
        'origin may use it, allow them by CORS (app.enableCors), or by gateway: { origins: [...] } if a proxy adds the headers of ' +
        'CORS, or changes the host',
    );
  }
}

function hostsOf({ headers, host }: BrowserRequest): string[] {
  // In HTTP/2 it is the authority.
  return [headers['host'], headers[':authority'], host]
    .filter((name) => typeof name === 'string')
    .map((name) => name.toLowerCase().replace(DEFAULT_PORT, ''));
}

/** @returns an empty text for an origin without a host, such as that of a page in a sandbox */
function hostOf(origin: string): string {
  return /^https?:\/\/([^/?#\s]+)$/.exec(origin)?.[1]?.toLowerCase().replace(DEFAULT_PORT, '') ?? '';
}
