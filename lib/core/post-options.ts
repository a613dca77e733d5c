import { checkOptions, flag, type OptionCheck } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';

/**
 * How far a post reaches. `local`: this process. `global`: every server too, and an error without Redis.
 * `auto`: global where Redis is configured, else local.
 */
export type PostScope = 'local' | 'global' | 'auto';

/** Options of a post. */
export interface PostOptions {
  /** Short for `scope: 'global'`. */
  global?: boolean;
  /** @defaultValue 'local' */
  scope?: PostScope;
}

const POST_OPTIONS: Record<string, OptionCheck> = {
  global: flag,
  scope: (value) => (isScope(value) ? undefined : "'local', 'global' or 'auto'"),
};

/**
 * Looks at what is right itself, since a global post has no time for more.
 *
 * @throws ConfigurationError for unknown or wrong options
 */
export function checkPostOptions(options: PostOptions): void {
  if (typeof options === 'object' && options !== null && !Array.isArray(options)) {
    const { global, scope } = options;
    let isRight = (global === undefined || typeof global === 'boolean') && (scope === undefined || isScope(scope));
    for (const name in options) isRight &&= name === 'global' || name === 'scope';
    if (isRight) return;
    if ('id' in options) {
      throw new ConfigurationError('postMessage: option "id" needs a channel with history, which is not supported yet');
    }
  }
  checkOptions(options, 'postMessage', POST_OPTIONS);
}

function isScope(value: unknown): boolean {
  return value === 'local' || value === 'global' || value === 'auto';
}
