import { expect, test } from '@jest/globals';
import { ChannelDefinitions } from '../../../lib/core/channel-definitions.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { TypeRegistry } from '../../../lib/protocol/type-registry.js';

const Loose = defineChannel('definitions/:area/:id', undefined, { slowConsumer: 'dropOldest' });
const Literal = defineChannel('definitions/prices/:id', undefined, { interop: true });
const Exact = defineChannel('definitions/prices/gold');

test('the definition of a name is its own, else that of the template that says most of it literally', () => {
  const definitions = new ChannelDefinitions(new TypeRegistry());
  expect(definitions.of('definitions/prices/gold')).toBe(Exact.definition);
  expect(definitions.of('definitions/prices/tin')).toBe(Literal.definition);
  expect(definitions.of('definitions/news/1')).toBe(Loose.definition);
  expect(definitions.of('definitions/news')).toBeUndefined();
});
