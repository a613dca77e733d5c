import { Hub } from '../core/hub.js';
import { IsolatedTransport } from '../core/isolated-transport.js';
import { givenOptions } from '../protocol/check-options.js';
import { RedisTransport } from '../transport/redis-transport.js';
import { loadClassValidatorCheck } from './class-validator-check.js';
import { loadClassTransformerFilter } from './class-transformer-loader.js';
import type { LoggingReporter } from './logging-reporter.js';
import type { ResolvedMessagingOptions } from './messaging-options.js';
import { refuseBundledRules } from './refuse-bundled-rules.js';

/** Makes the hub of an application from its options. It holds posts until it is released. */
export async function createHub(options: ResolvedMessagingOptions, reporter: LoggingReporter): Promise<Hub> {
  const { redis, transport, prefix, limits, types = [], validateOnPost, revocation, secret = [] } = options;
  refuseBundledRules();
  const classFilter = await loadClassTransformerFilter(givenOptions(options.classTransformer ?? {}));
  const instanceCheck = await loadClassValidatorCheck(options.classValidator, classFilter);
  const own = transport && new IsolatedTransport(transport, reporter);
  const toOthers =
    redis === undefined ? own : new RedisTransport(redis, { prefix, maxMessageBytes: limits.maxMessageBytes });
  const hub = new Hub({
    reporter,
    limits,
    transport: toOthers,
    classFilter,
    instanceCheck,
    validateOnPost,
    secrets: [secret].flat(),
    application: prefix,
    revocationTtlMs: revocation?.ttlMs,
  });
  for (const type of types) hub.types.register(type);
  // Until the handlers are found: when all modules are ready.
  hub.holdPosts();
  return hub;
}
