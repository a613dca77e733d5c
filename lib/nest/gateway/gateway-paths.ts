import { Inject, Injectable, VersioningType } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';
import { GATEWAY_OPTIONS, GATEWAY_PATH, type GatewayOptions } from './gateway-options.js';

/** Recognises requests for the gateway by their URL, before Nest has found their route. */
@Injectable()
export class GatewayPaths {
  private pattern: RegExp | undefined = undefined;

  constructor(
    private readonly config: ApplicationConfig,
    @Inject(GATEWAY_OPTIONS) private readonly options: GatewayOptions,
  ) {}

  /** Whether a URL is the one of streams, or one of changes; `undefined`: neither. */
  kindOf(url: string): 'streams' | 'changes' | undefined {
    const match = (this.pattern ??= this.makePattern()).exec(pathOf(url));
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
    return new RegExp(`^${prefix}${version}${path}(/[^/?#]*/channels)?/?$`, 'i');
  }
}

/**
 * The path that a router finds for the URL of a request, which may be a whole one (RFC 9112, 3.2.2). Some routers also decode it, and skip
 * doubled slashes.
 */
function pathOf(url: string): string {
  const path = /^(?:[a-z][a-z\d+.-]*:\/\/[^/?#;]*)?([^?#;]*)/i.exec(url)![1]!;
  return decoded(path).replace(/\/{2,}/g, '/');
}

function decoded(path: string): string {
  if (!path.includes('%')) return path;
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
