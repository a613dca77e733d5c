import { HttpException, HttpStatus, Injectable } from '@nestjs/common';
import { LimitReached } from '../core/limit-reached.js';
import type { Session } from '../core/session.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { ClientLimits, type ClientAddress } from '../sse/client-limits.js';
import { ClientAddresses } from './client-addresses.js';
import type { RequestBounds } from './gateway/client-requests.js';
import { responseOf, type HttpRequest } from './http-exchange.js';
import { LoggingReporter } from './logging-reporter.js';

/** Applies the limits to the requests of clients. */
@Injectable()
export class RequestLimits {
  private readonly addresses: ClientAddresses;

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
   * Takes a place for a stream before it waits for anything. The place is given back when the session closes.
   *
   * @returns the sign-in of the request
   * @throws LimitReached (rejects) if it is one too many
   */
  async enter(request: HttpRequest, session: Session): Promise<AuthenticationInfo | null> {
    const { limits } = this;
    const address = this.addressOf(request);
    limits.openFrom(address);
    const asked = session.settleAuthentication();
    const place = limits.places.take(address, asked instanceof Promise ? undefined : asked);
    session.onClose(() => place.giveBack());
    const auth = await asked;
    place.identify(auth);
    limits.openBy(auth);
    return auth;
  }

  /** Counts a change of a client connection. @throws LimitReached if it is one too many */
  change(connection: string, address: ClientAddress): void {
    this.limits.change(connection, address);
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
