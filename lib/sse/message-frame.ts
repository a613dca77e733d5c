import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { EncodedMessage } from '../protocol/codec.js';
import { dropRuleOf } from './drop-rule.js';
import { Frame, encodeFrame, type DropRule } from './frame.js';

/** A message as an event for anybody; all streams that send it share one frame, filtered ones included. */
export function eventFrame(hub: Hub, delivery: Delivery): Frame {
  return (delivery.forms.frame ??= frameOf(delivery.encoded, dropRuleOf(hub, delivery))) as Frame;
}

export function frameOf({ data, type }: EncodedMessage, dropRule?: DropRule): Frame {
  return new Frame(encodeFrame({ event: type, data }), dropRule);
}
