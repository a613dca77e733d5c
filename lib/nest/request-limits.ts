import { HttpException, HttpStatus, Injectable } from '@nestjs/common';
import { LimitReached } from '../core/limit-reached.js';
import type { Session } from '../core/session.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { Limits } from '../protocol/limits.js';
import { ClientLimits, type ClientAddress } from '../sse/client-limits.js';
import { ClientAddresses } from './client-addresses.js';
import { responseOf, type HttpRequest } from './http-exchange.js';
import { LoggingReporter } from './logging-reporter.js';

/** Holds the requests of clients to the limits. */
@Injectable()
export class RequestLimits {
  private readonly addresses: ClientAddresses;

  constructor(
    private readonly limits: ClientLimits,
    private readonly reporter: LoggingReporter,
  ) {
    this.addresses = new ClientAddresses(reporter);
  }

  /** How much may be in one request. */
  get perRequest(): Pick<Limits, 'maxNamesPerRequest' | 'maxRequestBytes'> {
    return this.limits.values;
  }

  addressOf(request: HttpRequest): ClientAddress {
    return this.addresses.of(request);
  }

  /**
   * Takes the place of a stream before anything is waited for; it is given back when the session closes.
   *
   * @returns who asks for the stream
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

  /** What a request is answered with that fails by this: if it is one too many, the response says when to come back, in whole seconds. */
  errorOf(error: unknown, request: HttpRequest): unknown {
    if (!(error instanceof LimitReached)) return error;
    const { limit, isOfServer, message, retryAfterMs } = error;
    // Of one client it may be nothing but its own fault, but the operator cannot know by anything else that a limit is too low.
    this.reporter.warn(`limit ${limit}`, `A client was refused. ${message}`);
    responseOf(request)?.setHeader('retry-after', Math.max(1, Math.ceil(retryAfterMs / 1_000)));
    return new HttpException(message, isOfServer ? HttpStatus.SERVICE_UNAVAILABLE : HttpStatus.TOO_MANY_REQUESTS);
  }
}
