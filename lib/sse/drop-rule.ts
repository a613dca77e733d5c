import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import { describe, quote } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { ignoreRejection } from '../protocol/promises.js';
import type { DropRule } from './frame.js';

/**
 * The drop rule for slow readers, from the options of a message's channel.
 *
 * @throws the error of the application's `conflateBy`, or ConfigurationError if that returned an object: no other is equal to it
 */
export function dropRuleOf(hub: Hub, delivery: Delivery): DropRule | undefined {
  const { slowConsumer, conflateBy } = hub.optionsOf(delivery);
  const { channel } = delivery;
  switch (slowConsumer) {
    case 'dropOldest':
      return { channel };
    case 'conflate':
      return { channel, key: checkKey(conflateBy!(delivery.message), channel) };
    default:
      return undefined;
  }
}

function checkKey<Key extends string | number>(key: Key, channel: string): Key {
  if (typeof key !== 'object' || key === null) return key;
  ignoreRejection(key);
  throw new ConfigurationError(
    `Channel ${quote(channel)}: option "conflateBy" must return a string or a number, not ${describe(key)}`,
  );
}
