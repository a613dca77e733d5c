import { describe, expect, test } from '@jest/globals';
import { ConfigurationError, defineChannel, IdentityMap, Message, Serializable } from 'nestjs-messaging/client';
import { isDeclaredAnew } from '../../../lib/client/declared-anew.js';
import { classInfo, describePlace } from '../../../lib/protocol/serializable.js';
import { Queue } from '../../support/queue.js';
import { Harness } from './harness.js';

/** A module of message classes, which each call evaluates again. */
function evaluate() {
  @Serializable({ name: 'hot-author', key: 'id' })
  class Author {
    constructor(
      readonly id: number,
      readonly name: string,
    ) {}
  }
  @Serializable({ name: 'hot-post' })
  class Post extends Message {
    constructor(readonly by: object) {
      super();
    }
  }
  class Plain {
    constructor(readonly text: string) {}
  }
  return { Author, Post, Plain, Posts: defineChannel('posts', Post), Plains: defineChannel('plains', Plain) };
}

describe('A message class that is evaluated again', () => {
  test('replaces the previous one for subscriptions with it, and inside messages', async () => {
    await using harness = await Harness.start({ identityMap: new IdentityMap() });
    const { client, gateway } = harness;
    const messages = new Queue<unknown>();
    const first = client.subscribe(evaluate().Posts, messages.push);
    const stream = await gateway.ready();
    await first;
    const frame = {
      channel: 'posts',
      type: 'hot-post',
      data: { by: { id: 1, name: 'ada' } },
      meta: { by: '@hot-author' },
    };
    const { Author, Post, Posts } = evaluate();
    await client.subscribe(Posts, messages.push);
    stream.message(frame);
    const both = await messages.take(2);
    for (const message of both) {
      expect(message).toBeInstanceOf(Post);
      expect((message as { by: unknown }).by).toBeInstanceOf(Author);
    }
    const anew = evaluate();
    await client.subscribe(anew.Posts, messages.push);
    stream.message(frame);
    const [message] = (await messages.take(3)) as { by: unknown }[];
    expect(message).toBeInstanceOf(anew.Post);
    expect(message!.by).toBeInstanceOf(anew.Author);
    expect(harness.errors.pending).toEqual([]);
  });

  test('replaces the previous one even without a decorator, while its source is the same', async () => {
    await using harness = await Harness.start();
    const { client, gateway } = harness;
    const messages = new Queue<unknown>();
    const first = client.subscribe(evaluate().Plains, messages.push);
    const stream = await gateway.ready();
    await (await first).unsubscribe();
    await gateway.answered();
    const { Plain, Plains } = evaluate();
    const second = client.subscribe(Plains, messages.push);
    await gateway.answered();
    await second;
    stream.message({ channel: 'plains', type: 'Plain', data: { text: 'x' } });
    expect(await messages.next()).toBeInstanceOf(Plain);
  });

  test('does not replace a different class of the same name', async () => {
    await using harness = await Harness.start();
    const { subscription } = await harness.subscribed();
    await subscription.unsubscribe();
    @Serializable({ name: 'hot-post' })
    class Other {}
    class Plain {
      readonly other = true;
    }
    harness.client.subscribe(evaluate().Posts, () => {}).catch(() => {});
    harness.client.subscribe(evaluate().Plains, () => {}).catch(() => {});
    for (const type of [Other, Plain]) {
      await expect(harness.client.subscribe(defineChannel('others', type), () => {})).rejects.toThrow(
        ConfigurationError,
      );
    }
  });
});

/** A class whose decorator was called from the place in a stack. */
function declared(stack: string) {
  @Serializable({ name: 'hot-place' })
  class Declared {}
  classInfo(Declared)!.declaredAt.stack = stack;
  return Declared;
}

describe('A class that may have been evaluated again', () => {
  const stacks = {
    chrome: (place: string) => `Error\n    at Serializable (http://h/lib@1.js:1:1)\n    at ${place}`,
    'chrome, within a function': (place: string) =>
      `Error\n    at Serializable (http://h/lib@1.js:1:1)\n    at Module.x (${place})\n    at y (http://h/z.js:9:9)`,
    'firefox and safari': (place: string) =>
      `Serializable@http://h/lib.js:1:1\nmodule code@${place}\n@http://h/z.js:9:9`,
  };
  describe.each(Object.entries(stacks))('in %s', (_, stackAt) => {
    test.each([
      ['at the same place', 'http://h/a.js:3:5', 'http://h/a.js:3:5', true],
      ['in another line of the same load', 'http://h/a.js:3:5', 'http://h/a.js:4:5', false],
      ['in another file', 'http://h/a.js:3:5', 'http://h/b.js:3:5', false],
      ['in a file that Vite loaded again', 'http://h/a.ts:3:5', 'http://h/a.ts?t=17:4:5', true],
      ['in a module of webpack', 'webpack-internal:///./a.ts:3:5', 'webpack-internal:///./a.ts:4:5', true],
    ])('%s', (__, before, after, isAnew) => {
      const [earlier, later] = [declared(stackAt(before)), declared(stackAt(after))];
      expect(isDeclaredAnew(earlier, later)).toBe(isAnew);
      expect(describePlace(later)).toBe(after.replace('?t=17', ''));
    });
  });

  test('counts as a different one if its place is unknown', () => {
    expect(isDeclaredAnew(declared('Error'), declared('Error'))).toBe(false);
    expect(describePlace(declared(''))).toBe('an unknown place');
  });
});
