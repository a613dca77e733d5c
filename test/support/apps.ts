import 'reflect-metadata';
import type { INestApplication, LoggerService, ModuleMetadata } from '@nestjs/common';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';

/** The HTTP adapters of Nest; suites of streams run on all of them. */
export const ADAPTERS = {
  Express: (trustProxy?: string) => {
    const adapter = new ExpressAdapter();
    if (trustProxy !== undefined) adapter.set('trust proxy', trustProxy);
    return adapter;
  },
  Fastify: (trustProxy?: string) => new FastifyAdapter(trustProxy === undefined ? {} : { trustProxy }),
} as const;

export type AdapterName = keyof typeof ADAPTERS;
const ALL_ADAPTERS = Object.keys(ADAPTERS) as AdapterName[];
/** Every adapter, or only the one that `npm run matrix` names. */
export const ADAPTER_NAMES = ALL_ADAPTERS.filter((name) => name === (process.env['TEST_ADAPTER'] ?? name));

/** Keeps the log of an application; prints nothing. */
class RecordingLogger implements LoggerService {
  readonly lines: string[] = [];

  log(message: unknown): void {
    this.record('log', message);
  }

  warn(message: unknown): void {
    this.record('warn', message);
  }

  error(message: unknown): void {
    this.record('error', message);
  }

  /** The warnings and errors. */
  get problems(): string[] {
    return this.lines.filter((line) => !line.startsWith('log '));
  }

  private record(level: string, message: unknown): void {
    this.lines.push(`${level} ${message instanceof Error ? message.message : String(message)}`);
  }
}

export interface TestApp extends AsyncDisposable {
  readonly app: INestApplication;
  readonly url: string;
  readonly logger: RecordingLogger;
}

export interface TestAppOptions {
  /** @defaultValue the first of {@link ADAPTER_NAMES} */
  readonly adapter?: AdapterName;
  /** Serves HTTP/2 in place of HTTP/1.1, without TLS, on Fastify with these options. */
  readonly http2?: { readonly http2SessionTimeout?: number };
  /** Serves over TLS. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** The addresses of proxies that the application believes. */
  readonly trustProxy?: string | undefined;
  /** @defaultValue a free one */
  readonly port?: number | undefined;
  /** Called before the application is initialised. */
  readonly configure?: (app: INestApplication) => void | Promise<void>;
}

/** Starts an application on a free port of the loopback interface. */
export async function startApp(metadata: ModuleMetadata, options: TestAppOptions = {}): Promise<TestApp> {
  const { app, logger } = await createApp(metadata, options);
  await options.configure?.(app);
  await app.listen(options.port ?? 0, '127.0.0.1');
  return {
    app,
    logger,
    url: await app.getUrl(),
    [Symbol.asyncDispose]: () => app.close(),
  };
}

/** Makes an application that is not initialised. */
export async function createApp(
  metadata: ModuleMetadata,
  { adapter = ADAPTER_NAMES[0]!, http2, tls, trustProxy }: TestAppOptions = {},
) {
  @Module(metadata)
  class AppModule {}
  const logger = new RecordingLogger();
  const httpAdapter = http2 ? new FastifyAdapter({ http2: true, ...http2 } as never) : ADAPTERS[adapter](trustProxy);
  const app = await NestFactory.create(AppModule, httpAdapter, {
    logger,
    abortOnError: false,
    ...(tls && { httpsOptions: tls }),
  });
  return { app, logger };
}
