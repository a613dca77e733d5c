import { checkOptions, flag, type OptionCheck } from '../protocol/check-options.js';

/**
 * How far a post reaches. `local`: this process. `global`: every server too, and an error without Redis.
 * `auto`: global with Redis, else local.
 */
export type PostScope = 'local' | 'global' | 'auto';

/** Options of a post. */
export interface PostOptions {
  /**
   * `true` is short for `scope: 'global'`.
   * @defaultValue as `scope` is
   */
  global?: boolean | undefined;
  /**
   * How far the post reaches. `'local'`: this process. `'global'`: every server too, and an error without Redis. `'auto'`: global with
   * Redis, else local.
   * @defaultValue 'local'; for `sendMessage` 'auto'; on a channel with history 'auto', and 'local' is refused
   */
  scope?: PostScope | undefined;
  /**
   * Identifies the post on a channel with history, 1 to 200 characters. While the history has it, the post is appended once,
   * however often it is made, and on whichever server. The same id with another message is refused.
   * @defaultValue none: each post is appended
   */
  id?: string | undefined;
}

const MAX_ID_LENGTH = 200;

const POST_OPTIONS: Record<string, OptionCheck> = {
  global: flag,
  scope: (value) => (isScope(value) ? undefined : "'local', 'global' or 'auto'"),
  id: (value) => (isId(value) ? undefined : `a string of 1 to ${MAX_ID_LENGTH} characters`),
};

/**
 * Checks correct options inline, since a global post has no time for more.
 *
 * @throws ConfigurationError for unknown or wrong options
 */
export function checkPostOptions(options: PostOptions): void {
  if (typeof options === 'object' && options !== null && !Array.isArray(options)) {
    const { global, scope, id } = options;
    let isRight = (global === undefined || typeof global === 'boolean') && (scope === undefined || isScope(scope));
    isRight &&= id === undefined || isId(id);
    for (const name in options) isRight &&= name === 'global' || name === 'scope' || name === 'id';
    if (isRight) return;
  }
  checkOptions(options, 'postMessage', POST_OPTIONS);
}

function isScope(value: unknown): boolean {
  return value === 'local' || value === 'global' || value === 'auto';
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= MAX_ID_LENGTH;
}
