import type { RedisClient } from './redis-client.js';

/**
 * Calls back whenever a master of a Cluster can be reached again. It may have restarted without its data, and nothing else reports
 * this: the other members continue, and so does the link to the Cluster.
 *
 * @param cluster - an ioredis `Cluster`
 * @returns a function that stops this
 */
export function watchMembers(cluster: RedisClient, returned: () => void): () => void {
  const onNode = (member: RedisClient): void => {
    const { readOnly } = member.options as { readOnly?: boolean };
    // The first members are added before the Cluster is ready.
    if (cluster.status !== 'ready' || readOnly === true) return;
    member.on('ready', returned);
    // ioredis connects it only for a command. If that fails, it adds the member again later.
    if (member.status === 'wait') member.connect().catch(() => undefined);
  };
  cluster.on('+node', onNode);
  return () => void cluster.off('+node', onNode);
}
