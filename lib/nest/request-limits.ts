import { HttpException, HttpStatus, Injectable } from '@nestjs/common';
import { LimitReached } from '../core/limit-reached.js';
import type { Session } from '../core/session.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { ClientLimits, type ClientAddress } from '../sse/client-limits.js';
import { ClientAddresses } from './client-addresses.js';
import type { RequestBounds } from './gateway/client-requests.js';
import { rawRequest, responseOf, type HttpRequest } from './http-exchange.js';
import { LoggingReporter } from './logging-reporter.js';

/** Applies the limits to the requests of clients. */
@Injectable()
export class RequestLimits {
  private readonly addresses: ClientAddresses;
  /** Requests that were counted for their address before the guards. */
  private readonly counted = new WeakSet<object>();

  constructor(
    private readonly limits: ClientLimits,
    private readonly reporter: LoggingReporter,
  ) {
    this.addresses = new ClientAddresses(reporter);
  }

  /** How much one request may contain. */
  get perRequest(): RequestBounds {
    return this.limits.values;
  }

  addressOf(request: HttpRequest): ClientAddress {
    return this.addresses.of(request);
  }

  /**
   * Applies the limits that need no user to a request for a stream: before the guards, which may be expensive.
   *
   * @throws LimitReached if it is one too many
   */
  openEarly(request: HttpRequest): void {
    const address = this.addressOf(request);
    this.counted.add(rawRequest(request));
    this.limits.openFrom(address);
    this.limits.places.assertRoom(address);
  }

  /** Applies the limit of an address to a change, before the guards. @throws LimitReached if it is one too many */
  changeEarly(request: HttpRequest): void {
    this.counted.add(rawRequest(request));
    this.limits.changeFrom(this.addressOf(request));
  }

  /**
   * Takes a place for a stream before it waits for anything. The place is given back when the session closes.
   *
   * @returns the sign-in of the request
   * @throws LimitReached (rejects) if it is one too many
   */
  async enter(request: HttpRequest, session: Session): Promise<AuthenticationInfo | null> {
    const { limits } = this;
    const address = this.addressOf(request);
    if (!this.counted.has(rawRequest(request))) limits.openFrom(address);
    // The sign-in of a request that is refused anyway is not looked up.
    limits.places.assertRoom(address);
    const asked = session.settleAuthentication();
    const place = limits.places.take(address, asked instanceof Promise ? undefined : asked);
    session.onClose(place);
    const auth = await asked;
    place.identify(auth);
    limits.openBy(auth);
    return auth;
  }

  /** Counts a change of a client connection. @throws LimitReached if it is one too many */
  change(connection: string, request: HttpRequest): void {
    if (!this.counted.has(rawRequest(request))) this.limits.changeFrom(this.addressOf(request));
    this.limits.changeOf(connection);
  }

  /**
   * The HTTP error for a request that fails with this error. If a limit is reached, the response also says when to come back, in
   * whole seconds.
   */
  errorOf(error: unknown, request: HttpRequest): unknown {
    if (!(error instanceof LimitReached)) return error;
    const { limit, isOfServer, message, retryAfterMs } = error;
    // The client itself may be at fault. But if the limit is too low, this line is how the operator learns it.
    this.reporter.warn(`limit ${limit}`, `A client was refused. ${message}`);
    responseOf(request)?.setHeader('retry-after', Math.max(1, Math.ceil(retryAfterMs / 1_000)));
    return new HttpException(message, isOfServer ? HttpStatus.SERVICE_UNAVAILABLE : HttpStatus.TOO_MANY_REQUESTS);
  }
}
