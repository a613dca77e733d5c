import { RedisScript } from './redis-script.js';

/**
 * Publishes in a Cluster with sharded channels. It declares no keys, so it runs at the member that receives it. If another member has the
 * slot, it fails before anything is published.
 *
 * Arguments: the Redis channel of the channel itself; that of templates with the same literal first segment, or empty; that of templates
 * whose first segment is a parameter; the name of the channel; the payloads.
 */
export const POST_SCRIPT = new RedisScript(`
redis.call('SPUBLISH', ARGV[1], ARGV[5])
local named = ARGV[4] .. '\\n' .. ARGV[5]
if ARGV[2] ~= '' then redis.call('SPUBLISH', ARGV[2], named) end
redis.call('SPUBLISH', ARGV[3], named)
return 1
`);
