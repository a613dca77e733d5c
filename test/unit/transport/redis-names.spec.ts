import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ConfigurationError } from '../../../lib/protocol/errors.js';
import { checkChannelName } from '../../../lib/protocol/channel-name.js';
import { HISTORY_PARTS, RedisNames, type RedisTopic } from '../../../lib/transport/redis-names.js';

function keysOf(names: RedisNames, name: string, interop?: boolean): string[] {
  return names.toSubscribe(name, interop).map(({ key }) => key);
}

function historyKeysOf(prefix: string, channel: string): string[] {
  const keys = new RedisNames(prefix, undefined).history(channel);
  return [keys.state, keys.stream, keys.appender('node'), keys.post('1'), keys.post('11')];
}

/** The slot in a Cluster: CRC-16 of the part in braces. */
function slotOf(key: string): number {
  let sum = 0;
  for (const byte of Buffer.from(/\{([^}]+)\}/.exec(key)![1]!)) {
    sum ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) sum = (sum << 1) ^ (sum & 0x8000 ? 0x11021 : 0);
  }
  return sum % 16_384;
}

describe('A channel in Redis', () => {
  const names = new RedisNames('messaging:', undefined);

  test('has our prefix, and no other name', () => {
    expect(names.toPublish('news')).toBe('messaging:|news');
    expect(keysOf(names, 'news')).toEqual(['messaging:|news']);
    expect(names.isPlain('news', undefined)).toBe(false);
  });

  test('also has its plain name if its definition or the module requires it', () => {
    expect(keysOf(names, 'news', true)).toEqual(['messaging:|news', 'news']);
    expect(keysOf(names, 'news', false)).toEqual(['messaging:|news']);
    const open = new RedisNames('messaging:', true);
    expect(keysOf(open, 'news')).toEqual(['messaging:|news', 'news']);
    expect(keysOf(open, 'news', false)).toEqual(['messaging:|news']);
  });

  test('has only its prefixed name with interop: false, whatever its own option', () => {
    expect(keysOf(new RedisNames('messaging:', false), 'news', true)).toEqual(['messaging:|news']);
  });

  test.each(['messaging:own', 'a/messaging:own', 'app:|news', '|news'])(
    'called %p is never without prefix, whatever the prefix',
    (name) => {
      for (const prefix of ['messaging:', 'app:', '']) {
        expect(keysOf(new RedisNames(prefix, true), name, true)).toEqual([`${prefix}|${name}`]);
      }
    },
  );

  test('has a prefixed name even if the prefix is empty', () => {
    const bare = new RedisNames('', undefined);
    expect(keysOf(bare, 'news')).toEqual(['|news']);
    expect(bare.toPublish('news')).toBe('|news');
  });

  test.each(['a|b', 'a\n', 1, undefined])(
    'refuses the prefix %p, which would not keep applications apart',
    (prefix) => {
      expect(() => new RedisNames(prefix as string, undefined)).toThrow(ConfigurationError);
      expect(() => new RedisNames(prefix as string, undefined)).toThrow(
        /Option "prefix" must be a string without "\|"/,
      );
    },
  );
});

describe('A template in Redis', () => {
  const names = new RedisNames('app[1]:', true);

  function match(template: string, redisChannel: string, isPlain: boolean): string | undefined {
    return names.match(redisChannel, template.split('/'), isPlain);
  }

  test('is a pattern in which only its parameters have a meaning', () => {
    expect(keysOf(names, 'rooms/:id/a?[b]\\')).toEqual([
      'app\\[1\\]:|rooms/*/a\\?\\[b\\]\\\\',
      'rooms/*/a\\?\\[b\\]\\\\',
    ]);
  });

  test('hears only channels that match its pattern and the template itself', () => {
    expect(match('rooms/:id', 'app[1]:|rooms/42', false)).toBe('rooms/42');
    expect(match('rooms/:id', 'rooms/42', true)).toBe('rooms/42');
    expect(match('rooms/:id', 'app[1]:|rooms/42/users', false)).toBeUndefined();
  });

  test('never mistakes a prefixed channel of any application for a plain one', () => {
    expect(match(':a/:b', 'app[1]:|rooms/42', true)).toBeUndefined();
    expect(match(':a/:b', 'other:|rooms/42', true)).toBeUndefined();
    expect(match(':a/:b', 'messaging:own/1', true)).toBeUndefined();
    expect(match(':a/:b', 'other:messaging:own/1', true)).toBeUndefined();
    expect(match(':a/:b', 'app[1]:|messaging:own/1', false)).toBeUndefined();
    expect(match('messaging:own/:b', 'app[1]:|messaging:own/1', false)).toBe('messaging:own/1');
  });

  test('hears nothing under an invalid channel name', () => {
    for (const id of ['a\nb', '\0', '*', 'x'.repeat(10_000_000), '/'.repeat(10_000_000)]) {
      expect(match('rooms/:id', `app[1]:|rooms/${id}`, false)).toBeUndefined();
      expect(match('rooms/:id', `rooms/${id}`, true)).toBeUndefined();
    }
  });
});

/** Redis' own pattern matching, as far as our patterns use it. */
function redisMatches(pattern: string, text: string): boolean {
  const source = pattern.replace(/\\(.)|(\*)|([^\\*])/gsu, (_, escaped?: string, star?: string, other?: string) =>
    star ? '[^]*' : (escaped ?? other)!.replace(/[.*+?^${}()|[\]\\/-]/gu, '\\$&'),
  );
  return new RegExp(`^${source}$`, 'u').test(text);
}

function isName(name: string): boolean {
  try {
    checkChannelName(name);
    return true;
  } catch {
    return false;
  }
}

test('Applications with two different prefixes never hear each other, for any prefixes and names', () => {
  const part = fc.constantFrom('a', 'b', ':', '/', 'app:', '[', '?', '\\', '{', 'messaging:');
  const prefix = fc.array(part, { maxLength: 4 }).map((parts) => parts.join(''));
  const segment = fc.constantFrom(':x', ':y', 'a', 'b', ':', '|', '|a', 'a:', 'app:|b', '[');
  const name = fc
    .array(segment, { minLength: 1, maxLength: 3 })
    .map((parts) => parts.join('/'))
    .filter(isName);
  fc.assert(
    fc.property(prefix, prefix, name, name, fc.boolean(), fc.boolean(), (ours, theirs, heard, posted, ...interop) => {
      fc.pre(ours !== theirs && !posted.includes('/:') && !posted.startsWith(':'));
      const [listener, poster] = [new RedisNames(ours, interop[0]), new RedisNames(theirs, interop[1])];
      const key = poster.toPublish(posted);
      const isHeard = ({ key: topic, isPattern, isPlain }: RedisTopic): boolean => {
        if (!isPattern) return topic === key;
        return redisMatches(topic, key) && listener.match(key, heard.split('/'), isPlain) !== undefined;
      };
      expect([...listener.toSubscribe(heard, undefined), listener.everything].filter(isHeard)).toEqual([]);
    }),
    { numRuns: 2_000 },
  );
});

function keysOfAll(prefix: string, channel: string, id: string): string[] {
  const names = new RedisNames(prefix, undefined);
  const keys = names.history(channel);
  return [keys.state, keys.stream, keys.appender(id), keys.post(id), names.changes(keys.part)];
}

test('Applications with two different prefixes share no key, for any prefixes, channels and ids', () => {
  const part = fc.constantFrom('a', '%', '7B', '{', '}', 'h', 's', '|', '0', ':', '/', 'a|1');
  const text = fc.array(part, { maxLength: 5 }).map((parts) => parts.join(''));
  const prefix = text.map((each) => each.replaceAll('|', ''));
  fc.assert(
    fc.property(prefix, prefix, text, text, text, text, (ours, theirs, mine, other, id, otherId) => {
      fc.pre(ours !== theirs);
      const all = [...keysOfAll(ours, mine, id), ...keysOfAll(theirs, other, otherId)];
      expect(new Set(all).size).toBe(all.length);
    }),
    { numRuns: 2_000 },
  );
});

describe('The keys of a history', () => {
  test.each(['messaging:', '', '{}', 'a{b', 'a}b{', '{app}'])(
    'have the hash tag of their part, with the prefix %p, for any channel name',
    (prefix) => {
      for (const channel of ['news', 'rooms/{1}', '}{', '{}', 'a|b']) {
        const tags = historyKeysOf(prefix, channel).map((key) => /^[^{]*\{([^}]+)\}/.exec(key)?.[1]);
        expect(tags[0]).toMatch(/^[\da-f]{3}$/);
        const names = new RedisNames(prefix, undefined);
        const { part, changes } = names.history(channel);
        expect(Number.parseInt(tags[0]!, 16)).toBe(part);
        expect(changes).toBe(names.changes(part));
        expect(changes).toContain(`{${tags[0]}}`);
        expect(new Set(tags).size).toBe(1);
      }
      expect(historyKeysOf(prefix, 'a')[0]!.split('h|')[0]).not.toBe(historyKeysOf(prefix, 'b')[0]!.split('h|')[0]);
    },
  );

  test('are spread evenly over the masters of a Cluster', () => {
    const names = new RedisNames('messaging:', undefined);
    const slots = Array.from({ length: HISTORY_PARTS }, (_, part) => slotOf(names.changes(part)));
    for (const masters of [3, 6, 16]) {
      const held = Array.from({ length: masters }, () => 0);
      for (const slot of slots) held[Math.floor((slot * masters) / 16_384)]!++;
      expect(Math.max(...held)).toBeLessThanOrEqual(1.05 * (HISTORY_PARTS / masters));
    }
  });

  test('belong to no other channel, prefix or post, and follow the prefix', () => {
    const channels = ['news', 'a|b', 'b', '1|news', 'h|news'];
    const all = ['messaging:', 'messaging', 'a%7B', 'a{'].flatMap((prefix) =>
      channels.flatMap((channel) => historyKeysOf(prefix, channel)),
    );
    expect(new Set(all).size).toBe(all.length);
    for (const key of historyKeysOf('shop:', 'news')) expect(key.startsWith('shop:|')).toBe(true);
  });
});
