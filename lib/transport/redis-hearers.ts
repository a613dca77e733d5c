import { inTime } from '../core/in-time.js';
import { membersOf, type RedisClient } from './redis-client.js';

/**
 * Whether any connection is subscribed to a channel of Redis. Each member of a Cluster knows its own connections, so all
 * are asked.
 *
 * @returns `undefined` if not all have answered within the time, and none has said yes
 */
export async function isSubscribed(client: RedisClient, key: string, timeoutMs: number): Promise<boolean | undefined> {
  const members = client.isCluster ? membersOf(client, 'all') : [client];
  const answers = await Promise.all(members.map((member) => inTime(ask(member, key), timeoutMs, () => undefined)));
  if (answers.includes(true)) return true;
  return answers.length === 0 || answers.includes(undefined) ? undefined : false;
}

async function ask(member: RedisClient, key: string): Promise<boolean | undefined> {
  try {
    const [, count] = (await member.call('PUBSUB', 'NUMSUB', key)) as [unknown, unknown];
    return Number(count) > 0;
  } catch {
    // It is away, or its ACL does not let us ask.
    return undefined;
  }
}
