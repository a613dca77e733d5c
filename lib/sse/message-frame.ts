import type { Delivery } from '../core/delivery.js';
import type { Gap } from '../core/gap.js';
import type { Hub } from '../core/hub.js';
import type { EncodedMessage } from '../protocol/codec.js';
import { ConfigurationError } from '../protocol/errors.js';
import { dropRuleOf } from './drop-rule.js';
import { Frame, encodeFrame, gapFrame, type DropRule } from './frame.js';
import type { SseEventOptions } from './sse-event.js';

/** A message as an event for anybody; all streams that send it share one frame, filtered ones included. */
export function eventFrame(hub: Hub, delivery: Delivery): Frame {
  return (delivery.forms.frame ??= frameOf(delivery.encoded, dropRuleOf(hub, delivery))) as Frame;
}

const gapFrames = new WeakMap<Gap, Frame>();

/** A loss as an event; all streams that tell of it share one frame. */
export function gapFrameOf(gap: Gap): Frame {
  let frame = gapFrames.get(gap);
  if (frame === undefined) {
    const { channel, reason } = gap;
    frame = gapFrame({ channel, reason });
    gapFrames.set(gap, frame);
  }
  return frame;
}

/**
 * @param own - what an {@link SseEvent} says beside its message
 * @throws ConfigurationError for a class whose name is that of an EventSource's own events
 */
export function frameOf(
  { data, type }: EncodedMessage,
  dropRule?: DropRule,
  { event = type, id, retryMs }: SseEventOptions = {},
): Frame {
  if (event === 'error' || event === 'open') {
    throw new ConfigurationError(
      `A message of a class called "${event}" cannot be sent as an event, since every EventSource has events of this name; ` +
        "give the class another one with @Serializable({ name: '…' })",
    );
  }
  return new Frame(encodeFrame({ event, id, retryMs, data }), dropRule);
}
