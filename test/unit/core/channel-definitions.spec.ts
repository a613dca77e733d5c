import { describe, expect, test } from '@jest/globals';
import { ChannelDefinitions } from '../../../lib/core/channel-definitions.js';
import type { Delivery } from '../../../lib/core/delivery.js';
import { Hub } from '../../../lib/core/hub.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { TypeRegistry } from '../../../lib/protocol/type-registry.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const Loose = defineChannel('definitions/:area/:id', undefined, { slowConsumer: 'dropOldest' });
const Literal = defineChannel('definitions/prices/:id', undefined, { interop: true });
const Exact = defineChannel('definitions/prices/gold');

test('a name has its own definition, or else the definition of its most literal template', () => {
  const definitions = new ChannelDefinitions(new TypeRegistry());
  expect(definitions.of('definitions/prices/gold')).toBe(Exact.definition);
  expect(definitions.of('definitions/prices/tin')).toBe(Literal.definition);
  expect(definitions.of('definitions/news/1')).toBe(Loose.definition);
  expect(definitions.of('definitions/news')).toBeUndefined();
});

describe('The decider of a name', () => {
  const definitions = new ChannelDefinitions(new TypeRegistry());
  const decidersOf = (name: string) => definitions.decidersOf(name).map((decider) => decider.name);
  definitions.rule('definitions/:area/vault');
  definitions.rule('definitions/news/today');

  test('is the name itself if it is defined or has an authorizer', () => {
    expect(decidersOf('definitions/prices/gold')).toEqual(['definitions/prices/gold']);
    expect(decidersOf('definitions/news/today')).toEqual(['definitions/news/today']);
  });

  test('is otherwise the most literal template that is defined or has an authorizer, with its parameters', () => {
    expect(definitions.decidersOf('definitions/prices/tin')).toEqual([
      { name: 'definitions/prices/:id', params: { id: 'tin' } },
    ]);
    expect(decidersOf('definitions/news/vault')).toEqual(['definitions/:area/vault']);
    expect(decidersOf('definitions/news/1')).toEqual(['definitions/:area/:id']);
    expect(decidersOf('definitions/news')).toEqual([]);
  });

  test('is the template of its class for the channel of a source', () => {
    expect(definitions.decidersOf('messaging:from/Room/a%2Fb/Chat')).toEqual([
      { name: 'messaging:from/Room/:key/Chat', params: { key: 'a/b' } },
    ]);
    expect(decidersOf('messaging:from/Room/%/Chat')).toEqual([]);
  });

  test('is a template only if no other name is', () => {
    expect(definitions.decides('definitions/:area/:id', 'definitions/news/1')).toBe(true);
    for (const name of ['prices/gold', 'prices/tin', 'news/vault', 'news/today', 'news']) {
      expect(definitions.decides('definitions/:area/:id', `definitions/${name}`)).toBe(false);
    }
    expect(definitions.decides('definitions/prices/:id', 'definitions/prices/tin')).toBe(true);
  });

  test('changes with later definitions and authorizers', () => {
    const [a, b] = ['definitions/late/a', 'definitions/late/b'];
    expect([a, b].map((name) => definitions.decides('definitions/:area/:id', name))).toEqual([true, true]);
    defineChannel(a);
    definitions.rule(b);
    expect([a, b].map((name) => definitions.decides('definitions/:area/:id', name))).toEqual([false, false]);
  });

  test('is both of two equally literal templates for the name alone, and none for a whole template', () => {
    definitions.rule('definitions/twin/:one');
    definitions.rule('definitions/twin/:other');
    expect(decidersOf('definitions/twin/1')).toEqual(['definitions/twin/:one', 'definitions/twin/:other']);
    expect(definitions.decides('definitions/twin/:one', 'definitions/twin/1')).toBe(false);
  });

  test('is remembered for a bounded number of names', () => {
    for (let n = 0; n <= 10_000; n++) definitions.decides('definitions/:area/:id', `definitions/${n}/x`);
    expect(definitions['deciderOf'].size).toBeLessThanOrEqual(10_000);
  });
});

describe('Different definitions of one name', () => {
  defineChannel('definitions/double/:id', undefined, { clients: true });
  const used = defineChannel('definitions/double/:id', undefined, { clients: true, requiredScopes: ['x'] });
  defineChannel('definitions/both');
  defineChannel('definitions/both', undefined, { clients: true });

  test('are unclear, also for channels of a template, until the application uses one of them', () => {
    const definitions = new ChannelDefinitions(new TypeRegistry());
    expect(definitions.of('definitions/both')).toBe('unclear');
    expect(definitions.of('definitions/double/1')).toBe('unclear');
    definitions.use(used.definition);
    expect(definitions.of('definitions/double/1')).toBe(used.definition);
  });

  test('are an error for listeners of that name, but do not keep messages from other listeners', () => {
    const hub = new Hub({ reporter: new RecordingReporter() });
    expect(() => hub.heardUnder('definitions/both')).toThrow(
      'Channel "definitions/both" is defined twice, in different ways (once with clients: undefined; once with clients: true); define it once and import it',
    );
    const got: unknown[] = [];
    const take = (delivery: Delivery) => got.push([delivery.message, hub.optionsOf(delivery)]);
    hub.tap(hub.heard('definitions/both'), take, hub.root, 'a client');
    void hub.post('definitions/both', 1);
    expect(got).toEqual([[1, {}]]);
  });
});
