import { inTime } from '../core/in-time.js';
import { membersOf, type RedisClient } from './redis-client.js';
import type { RedisLink } from './redis-link.js';
import type { RedisSettings } from './redis-options.js';

/**
 * Counts the connections that are subscribed to a Redis channel. Each member of a Cluster knows only its own connections, so all of them
 * are asked.
 *
 * @returns `undefined` if not all have answered in time, or the link has failed
 */
export async function subscribersOf(
  link: RedisLink,
  key: string,
  { sharded, publishTimeoutMs }: RedisSettings,
): Promise<number | undefined> {
  const question = sharded ? 'SHARDNUMSUB' : 'NUMSUB';
  const members = membersOf(link.client, 'all');
  const answers = await Promise.all(
    members.map((member) => inTime(askHearers(link, member, question, key), publishTimeoutMs, () => undefined)),
  );
  if (answers.length === 0) return undefined;
  return answers.reduce((sum, count) => (sum === undefined || count === undefined ? undefined : sum + count));
}

/**
 * Counts the connections at one Redis.
 *
 * @param question - `NUMSUB`, or `SHARDNUMSUB`
 */
export async function askHearers(
  link: RedisLink,
  member: RedisClient,
  question: string,
  key: string,
): Promise<number | undefined> {
  try {
    const [, count] = (await link.whileUp(member.call('PUBSUB', question, key))) as [unknown, unknown];
    return Number(count);
  } catch {
    // It is away, or its ACL forbids the question.
    return undefined;
  }
}
