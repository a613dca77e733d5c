import { Inject, Injectable, VersioningType } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';
import type { HttpRequest } from '../http-exchange.js';
import { GATEWAY_OPTIONS, GATEWAY_PATH, type GatewayOptions } from './gateway-options.js';

/** Recognises requests for the gateway by their path, before Nest has found their route. */
@Injectable()
export class GatewayPaths {
  private pattern: RegExp | undefined = undefined;

  constructor(
    private readonly config: ApplicationConfig,
    @Inject(GATEWAY_OPTIONS) private readonly options: GatewayOptions,
  ) {}

  /**
   * Whether a request is one for streams, or one for changes; `undefined`: neither. Each router reads some URLs in a way of its own, so what
   * the router made of it counts: Fastify decodes `/m%65ssages`, and Express finds `/messages` for `/messages\#`.
   */
  kindOf({ url = '', path = url, routeOptions }: HttpRequest): 'streams' | 'changes' | undefined {
    const match = (this.pattern ??= this.makePattern()).exec(routeOptions?.url ?? path);
    if (match === null) return undefined;
    return match[1] === undefined ? 'streams' : 'changes';
  }

  /** Made with the first request, when prefix and versioning are known. */
  private makePattern(): RegExp {
    const versioning = this.config.getVersioning();
    const isInUrl = versioning?.type === VersioningType.URI;
    const version = isInUrl
      ? `(?:/${literal(versioning.prefix === false ? '' : (versioning.prefix ?? 'v'))}[^/?#]+)?`
      : '';
    const parts = [this.config.getGlobalPrefix(), this.options.path ?? GATEWAY_PATH].map((part) =>
      part.replace(/^\/+|\/+$/g, ''),
    );
    const [prefix, path] = parts.map((part) => (part === '' ? '' : `/${literal(part)}`));
    return new RegExp(`^${prefix}${version}${path}(/[^/?#]*/channels)?/?(?:[?#]|$)`, 'i');
  }
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
