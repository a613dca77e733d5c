import { HttpException, HttpStatus, Inject, Injectable, VersioningType } from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost } from '@nestjs/core';
import { beforeBodies } from '../http-exchange.js';
import { GATEWAY_OPTIONS, GATEWAY_PATH, type GatewayOptions } from './gateway-options.js';

/** No cache may keep an answer: it is for one client. */
const CACHE_CONTROL = 'private, no-store';

type Next = (error?: unknown) => void;

/**
 * Protects the answers to requests of the gateway, also those that are made before its routes are reached: no cache keeps them,
 * and they repeat nothing of the request.
 */
@Injectable()
export class PrivateAnswers {
  private path: RegExp | undefined = undefined;

  constructor(
    private readonly http: HttpAdapterHost,
    private readonly config: ApplicationConfig,
    @Inject(GATEWAY_OPTIONS) private readonly options: GatewayOptions,
  ) {
    // Before bodies are read: their errors are answers as well.
    beforeBodies(http, ({ url = '' }, response, next) => {
      if (this.isOurs(url)) response.header('cache-control', CACHE_CONTROL);
      next();
    });
  }

  /** To be called after Nest has registered its body parsers: answers to their errors then repeat nothing of the body. */
  hideBodies(): void {
    const { httpAdapter } = this.http;
    // Fastify's errors repeat nothing of a body.
    if (httpAdapter?.getType?.() !== 'express') return;
    httpAdapter.use((error: unknown, { url }: { url: string }, _response: unknown, next: Next) =>
      next(this.isOurs(url) ? withoutInput(error) : error),
    );
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

/** The error of Express' own body parsers without its text, which may repeat the body. */
function withoutInput(error: unknown): unknown {
  const { status } = (error ?? {}) as { status?: unknown };
  if (error instanceof HttpException || typeof status !== 'number' || status < 400 || status > 499) return error;
  return new HttpException(
    status === 400 ? 'The body cannot be read as JSON' : (HttpStatus[status] ?? 'Refused'),
    status,
  );
}
