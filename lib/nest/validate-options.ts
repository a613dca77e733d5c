import { describe } from '../protocol/channel-name.js';
import {
  callback,
  checkOptions,
  classes,
  flag,
  readable,
  strings,
  wholeNumber,
  type OptionCheck,
} from '../protocol/check-options.js';
import { MAX_UNSUBSCRIBED } from '../gateway/connection-change.js';
import { ConfigurationError } from '../protocol/errors.js';
import { DEFAULT_LIMITS, resolveLimits } from '../protocol/limits.js';
import { validateRedisOption } from '../transport/redis-options.js';
import { checkSecret } from './check-secret.js';
import { checkGateway } from './gateway/gateway-options.js';
import type {
  ClassValidatorOptions,
  MessagingModuleExtras,
  MessagingOptions,
  MessagingOptionsFactory,
  ResolvedMessagingOptions,
} from './messaging-options.js';

const CLASS_VALIDATOR: Record<keyof ClassValidatorOptions, OptionCheck> = {
  groups: strings,
  always: flag,
  strictGroups: flag,
  whitelist: flag,
  forbidNonWhitelisted: flag,
  forbidUnknownValues: flag,
  skipMissingProperties: flag,
  skipNullProperties: flag,
  skipUndefinedProperties: flag,
};

const TRANSPORT_METHODS = ['start', 'publish', 'subscribe', 'unsubscribe', 'close'];
const OPTIONAL_TRANSPORT_METHODS = ['hearers', 'catchUp', 'settled'];
const HISTORY_METHODS = ['append', 'read', 'positions'];
const OPTIONAL_HISTORY_METHODS = ['changes', 'check'];

const LIMITS: Record<string, OptionCheck> = {
  ...Object.fromEntries(Object.keys(DEFAULT_LIMITS).map((limit) => [limit, wholeNumber(1)])),
  // One server hands on no more to another.
  maxNamesPerRequest: wholeNumber(1, MAX_UNSUBSCRIBED),
};

const MODULE: Record<string, OptionCheck> = readable({
  redis: (value) => {
    validateRedisOption(value);
    return undefined;
  },
  transport: (value) => {
    const transport = (value ?? {}) as Record<string, unknown> & { status?: { subscribe?: unknown } | null };
    const problem =
      problemOfMethods(transport, TRANSPORT_METHODS, OPTIONAL_TRANSPORT_METHODS) ??
      problemOfHistory(transport['history']);
    if (problem !== undefined) return `a Transport (${problem})`;
    return typeof transport.status?.subscribe === 'function'
      ? undefined
      : 'a Transport (its "status" is no Observable)';
  },
  // What Redis' patterns treat specially would have to be escaped wherever a person uses the prefix.
  prefix: (value) =>
    typeof value === 'string' && /^[\w:.\-/{}]*$/.test(value) ? undefined : 'a string of letters, digits and "_:.-/{}"',
  secret: checkSecret,
  authenticate: callback,
  revocation: (value, path) => checkOptions(value, path, { ttlMs: wholeNumber(1_000, 30 * 24 * 3_600_000) }),
  sse: (value, path) =>
    checkOptions(value, path, {
      heartbeatMs: wholeNumber(0),
      retryMs: wholeNumber(0),
      maxBufferedBytes: wholeNumber(1),
      maxConnectionAgeMs: wholeNumber(1),
    }),
  limits: (value, path) => checkOptions(value, path, LIMITS),
  classTransformer: (value, path) =>
    checkOptions(value, path, {
      groups: strings,
      version: (version) => (Number.isFinite(version) ? undefined : 'a finite number'),
    }),
  classValidator: (value, path) => {
    checkOptions(value, path, CLASS_VALIDATOR);
    const { whitelist, forbidNonWhitelisted } = value as ClassValidatorOptions;
    return forbidNonWhitelisted && !whitelist ? 'given "whitelist: true" beside "forbidNonWhitelisted"' : undefined;
  },
  validateOnPost: flag,
  types: classes,
  onListenerError: callback,
});

const EXTRAS: Record<string, OptionCheck> = readable({
  scope: (value) => (value === 'request' || value === 'async-local' ? undefined : "'request' or 'async-local'"),
  global: flag,
  gateway: checkGateway,
});

const ASYNC: Record<string, OptionCheck> = {
  ...EXTRAS,
  imports: (value) => (Array.isArray(value) ? undefined : 'an array'),
  inject: (value) => (Array.isArray(value) ? undefined : 'an array'),
  useFactory: callback,
  useClass: callback,
  useExisting: callback,
};

/** What is wrong with methods; `undefined`: nothing. */
function problemOfMethods(
  of: Record<string, unknown>,
  required: readonly string[],
  optional: readonly string[],
): string | undefined {
  const missing = required.find((method) => typeof of[method] !== 'function');
  if (missing !== undefined) return `it has no method "${missing}"`;
  const wrong = optional.find((method) => of[method] !== undefined && typeof of[method] !== 'function');
  return wrong && `its "${wrong}" is no method`;
}

function problemOfHistory(history: unknown): string | undefined {
  if (history === undefined) return undefined;
  const store = (history ?? {}) as Record<string, unknown>;
  const problem = problemOfMethods(store, HISTORY_METHODS, OPTIONAL_HISTORY_METHODS);
  return problem && `its "history" is no HistoryStore: ${problem}`;
}

/**
 * Checks what a factory or `forRoot()` gave and fills in the defaults.
 *
 * @throws ConfigurationError that names the option
 */
export function resolveOptions(options: MessagingOptions | undefined): ResolvedMessagingOptions {
  const path = 'MessagingModule';
  if (options === undefined) {
    throw new ConfigurationError(
      `${path} has no options: import MessagingModule.forRoot(), once, in the root module, not MessagingModule alone; ` +
        'its providers are global. A factory of forRootAsync() must give an object',
    );
  }
  for (const extra of Object.keys(EXTRAS)) {
    if ((options as Readonly<Record<string, unknown>> | null)?.[extra] !== undefined) {
      throw new ConfigurationError(
        `${path}: option "${extra}" must be known before a factory runs; give it to forRootAsync() itself, beside useFactory`,
      );
    }
  }
  // EXTRAS are checked before; the error for an unknown option must list them too.
  checkOptions(options, path, { ...MODULE, ...EXTRAS });
  if (options.redis !== undefined && options.transport !== undefined) {
    throw new ConfigurationError(`${path}: give either "redis" or "transport", not both`);
  }
  return {
    ...options,
    prefix: options.prefix ?? 'messaging:',
    limits: resolveLimits(options.limits),
    sse: {
      heartbeatMs: options.sse?.heartbeatMs ?? 15_000,
      retryMs: options.sse?.retryMs,
      maxBufferedBytes: options.sse?.maxBufferedBytes ?? 1_048_576,
      maxConnectionAgeMs: options.sse?.maxConnectionAgeMs,
    },
  };
}

/** @throws ConfigurationError that names the option */
export function checkExtras(extras: MessagingModuleExtras): void {
  const { scope, global, gateway } = extras;
  checkOptions({ scope, global, gateway }, 'MessagingModule', EXTRAS);
}

/** @throws ConfigurationError unless exactly one way to make the options is given */
export function checkAsyncOptions(options: object): void {
  const path = 'MessagingModule.forRootAsync()';
  checkOptions(options, path, ASYNC);
  const ways = ['useFactory', 'useClass', 'useExisting'].filter(
    (way) => (options as Record<string, unknown>)[way] !== undefined,
  );
  if (ways.length !== 1) {
    throw new ConfigurationError(
      `${path}: give exactly one of useFactory, useClass and useExisting, not ${ways.length}`,
    );
  }
}

/** @throws ConfigurationError if what `useClass` or `useExisting` names has no method for it */
export async function askForOptions(factory: Partial<MessagingOptionsFactory> | null): Promise<MessagingOptions> {
  if (typeof factory?.createMessagingOptions === 'function') return factory.createMessagingOptions();
  const what = `useClass and useExisting need a method "createMessagingOptions", which ${describe(factory)} does not have`;
  throw new ConfigurationError(`MessagingModule.forRootAsync(): ${what}`);
}
