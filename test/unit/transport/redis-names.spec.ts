import { describe, expect, test } from '@jest/globals';
import { RedisNames } from '../../../lib/transport/redis-names.js';

describe('A channel in Redis', () => {
  const names = new RedisNames('messaging:', undefined);

  test('has our prefix; with interop it has none', () => {
    expect(names.toPublish('news', undefined)).toBe('messaging:news');
    expect(names.toPublish('news', true)).toBe('news');
    expect(new RedisNames('messaging:', true).toPublish('news', undefined)).toBe('news');
    expect(new RedisNames('messaging:', true).toPublish('news', false)).toBe('messaging:news');
  });

  test('is heard by both names', () => {
    expect(names.toSubscribe('news').map(({ key }) => key)).toEqual(['messaging:news', 'news']);
  });

  test('has only its prefixed name with interop: false, whatever the channel says', () => {
    const strict = new RedisNames('messaging:', false);
    expect(strict.toPublish('news', true)).toBe('messaging:news');
    expect(strict.toSubscribe('news').map(({ key }) => key)).toEqual(['messaging:news']);
  });

  test('of the library itself is never without prefix', () => {
    expect(names.toPublish('messaging:own', true)).toBe('messaging:messaging:own');
    expect(names.toSubscribe('messaging:own').map(({ key }) => key)).toEqual(['messaging:messaging:own']);
    expect(new RedisNames('app:', true).toPublish('messaging:own', true)).toBe('app:messaging:own');
  });

  test('whose plain name looks like another’s prefixed one has no plain name', () => {
    const app = new RedisNames('app/', true);
    expect(app.toSubscribe('news').map(({ key }) => key)).toEqual(['app/news', 'news']);
    expect(app.toSubscribe('app/news').map(({ key }) => key)).toEqual(['app/app/news']);
    expect(app.toPublish('app/news', true)).toBe('app/app/news');
  });

  test('has one name where the prefix is empty', () => {
    const bare = new RedisNames('', undefined);
    expect(bare.toSubscribe('news')).toEqual([{ key: 'news', isPattern: false, isPlain: false }]);
    expect(bare.toPublish('news', undefined)).toBe('news');
  });
});

describe('A template in Redis', () => {
  const names = new RedisNames('app[1]:', undefined);

  function match(template: string, redisChannel: string, isPlain: boolean): string | undefined {
    return names.match(redisChannel, template.split('/'), isPlain);
  }

  test('is a pattern in which only its parameters mean something', () => {
    expect(names.toSubscribe('rooms/:id/a?[b]\\').map(({ key }) => key)).toEqual([
      'app\\[1\\]:rooms/*/a\\?\\[b\\]\\\\',
      'rooms/*/a\\?\\[b\\]\\\\',
    ]);
  });

  test('hears what its pattern and itself match', () => {
    expect(match('rooms/:id', 'app[1]:rooms/42', false)).toBe('rooms/42');
    expect(match('rooms/:id', 'rooms/42', true)).toBe('rooms/42');
    expect(match('rooms/:id', 'app[1]:rooms/42/users', false)).toBeUndefined();
  });

  test('takes no prefixed channel for a plain one', () => {
    expect(match(':a/:b', 'app[1]:rooms/42', true)).toBeUndefined();
    expect(match(':a/:b', 'messaging:own/1', true)).toBeUndefined();
    expect(match(':a/:b', 'app[1]:messaging:own/1', false)).toBeUndefined();
    expect(match('messaging:own/:b', 'app[1]:messaging:own/1', false)).toBe('messaging:own/1');
  });
});
