import { HttpException, HttpStatus, Inject, Injectable, VersioningType } from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost } from '@nestjs/core';
import type { RawResponse } from '../../sse/response.js';
import { GATEWAY_OPTIONS, GATEWAY_PATH, type GatewayOptions } from './gateway-options.js';

/** What no cache may keep: it is for one client. */
const CACHE_CONTROL = 'private, no-store';

type Next = (error?: unknown) => void;
type Respond = Pick<RawResponse, 'setHeader'>;

interface FastifyLike {
  addHook(
    name: 'onRequest',
    hook: (request: { url: string }, reply: { header(name: string, value: string): void }, done: () => void) => void,
  ): void;
}

/**
 * Sees to answers to requests of the gateway that are made before its routes are reached: no cache keeps them, and they do not
 * hold what was asked.
 */
@Injectable()
export class PrivateAnswers {
  private path: RegExp | undefined = undefined;

  constructor(
    private readonly http: HttpAdapterHost,
    private readonly config: ApplicationConfig,
    @Inject(GATEWAY_OPTIONS) private readonly options: GatewayOptions,
  ) {
    // Before Nest has bodies read, whose errors are answers as well. A testing module gets its adapter later.
    http.init$.subscribe(() => this.markRequests());
  }

  /** To be called when bodies are being read: what they fail with is answered in words that hold nothing of them. */
  hideBodies(): void {
    const { httpAdapter } = this.http;
    // Fastify's words are its own.
    if (httpAdapter?.getType?.() !== 'express') return;
    httpAdapter.use((error: unknown, { url }: { url: string }, _response: unknown, next: Next) =>
      next(this.isOurs(url) ? withoutInput(error) : error),
    );
  }

  private markRequests(): void {
    const { httpAdapter } = this.http;
    const type = httpAdapter?.getType?.();
    if (type === 'fastify') {
      httpAdapter.getInstance<FastifyLike>().addHook('onRequest', ({ url }, reply, done) => {
        if (this.isOurs(url)) reply.header('cache-control', CACHE_CONTROL);
        done();
      });
    } else if (type === 'express') {
      httpAdapter.use(({ url }: { url: string }, response: Respond, next: Next) => {
        if (this.isOurs(url)) response.setHeader('cache-control', CACHE_CONTROL);
        next();
      });
    }
  }

  private isOurs(url: string): boolean {
    return (this.path ??= this.pathPattern()).test(url);
  }

  /** Made with the first request, when prefix and versioning are known. */
  private pathPattern(): RegExp {
    const versioning = this.config.getVersioning();
    const isInUrl = versioning?.type === VersioningType.URI;
    const version = isInUrl
      ? `(?:/${literal(versioning.prefix === false ? '' : (versioning.prefix ?? 'v'))}[^/?#]+)?`
      : '';
    const parts = [this.config.getGlobalPrefix(), this.options.path ?? GATEWAY_PATH].map((part) =>
      part.replace(/^\/+|\/+$/g, ''),
    );
    const [prefix, path] = parts.map((part) => (part === '' ? '' : `/${literal(part)}`));
    return new RegExp(`^${prefix}${version}${path}(?:/[^/?#]*/channels)?/?(?:[?#]|$)`, 'i');
  }
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** What reading a body fails with, as Express' own middleware tells it. */
function withoutInput(error: unknown): unknown {
  const { status } = (error ?? {}) as { status?: unknown };
  if (error instanceof HttpException || typeof status !== 'number' || status < 400 || status > 499) return error;
  return new HttpException(
    status === 400 ? 'The body cannot be read as JSON' : (HttpStatus[status] ?? 'Refused'),
    status,
  );
}
