import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { DropRule } from './frame.js';

/**
 * The drop rule for slow readers, from the options of a message's channel.
 *
 * @throws the error of the application's `conflateBy`
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
