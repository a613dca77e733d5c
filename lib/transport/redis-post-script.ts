import { RedisScript } from './redis-script.js';

/**
 * Publishes in a Cluster that shards channels. It names no keys, so it runs at the member that it is sent to, and if the slot is
 * another member's it fails before anything is published.
 *
 * Arguments: the Redis channel of the channel itself; that of templates with the same literal head, or nothing; that of
 * templates that begin with a parameter; the name of the channel; the payloads.
 */
export const POST_SCRIPT = new RedisScript(`
redis.call('SPUBLISH', ARGV[1], ARGV[5])
local named = ARGV[4] .. '\\n' .. ARGV[5]
if ARGV[2] ~= '' then redis.call('SPUBLISH', ARGV[2], named) end
redis.call('SPUBLISH', ARGV[3], named)
return 1
`);
