import { HttpException, HttpStatus, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { PRIVATE } from '../../sse/response.js';
import { beforeBodies, type HttpRequest } from '../http-exchange.js';
import { GatewayPaths } from './gateway-paths.js';

type Next = (error?: unknown) => void;

/**
 * Protects the answers to requests of the gateway, also those that are made before its routes are reached: no cache keeps them,
 * and they repeat nothing of the request.
 */
@Injectable()
export class PrivateAnswers {
  constructor(
    private readonly http: HttpAdapterHost,
    private readonly paths: GatewayPaths,
  ) {
    // Before bodies are read: their errors are answers as well.
    beforeBodies(http, (request, response, next) => {
      if (paths.kindOf(request) !== undefined) response.header('cache-control', PRIVATE);
      next();
    });
  }

  /** To be called after Nest has registered its body parsers: answers to their errors then repeat nothing of the body. */
  hideBodies(): void {
    const { httpAdapter } = this.http;
    // Fastify's errors repeat nothing of a body.
    if (httpAdapter?.getType?.() !== 'express') return;
    httpAdapter.use((error: unknown, request: HttpRequest, _response: unknown, next: Next) =>
      next(this.paths.kindOf(request) !== undefined ? withoutInput(error) : error),
    );
  }
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
