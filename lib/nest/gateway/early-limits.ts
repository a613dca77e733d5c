import { Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { beforeGuards, type HttpRequest } from '../http-exchange.js';
import { RequestLimits } from '../request-limits.js';
import { GatewayPaths } from './gateway-paths.js';

/**
 * Applies the limits of an address and of the server before the guards of the application run, because a guard may ask a database.
 * Requests that this does not recognise, and those of `@Sse()`, whose routes only Nest knows, are counted after their guards.
 */
@Injectable()
export class EarlyLimits {
  constructor(
    private readonly http: HttpAdapterHost,
    private readonly paths: GatewayPaths,
    private readonly limits: RequestLimits,
  ) {}

  /** To be called before routes are served. */
  install(): void {
    beforeGuards(this.http, (request, next) => next(this.errorOf(request)));
  }

  private errorOf(request: HttpRequest): unknown {
    const { method } = request;
    const kind = this.paths.kindOf(request);
    try {
      if (kind === 'streams' && STREAM_METHODS.has(method)) this.limits.openEarly(request);
      if (kind === 'changes' && method === 'POST') this.limits.changeEarly(request);
      return undefined;
    } catch (error) {
      return this.limits.errorOf(error, request);
    }
  }
}

/** Browsers ask with OPTIONS before other requests. */
const STREAM_METHODS: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD', 'POST']);
