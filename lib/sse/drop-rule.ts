import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { DropRule } from './frame.js';

/**
 * What the channel of a message says about slow readers.
 *
 * @throws what the application's `conflateBy` throws
 */
export function dropRuleOf(hub: Hub, delivery: Delivery): DropRule | undefined {
  const { slowConsumer, conflateBy } = hub.optionsOf(delivery);
  const { channel } = delivery;
  switch (slowConsumer) {
    case 'dropOldest':
      return { channel };
    case 'conflate':
      return { channel, key: conflateBy!(delivery.message) };
    default:
      return undefined;
  }
}
