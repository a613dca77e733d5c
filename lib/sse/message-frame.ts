import type { Delivery } from '../core/delivery.js';
import type { Gap } from '../core/gap.js';
import type { Hub } from '../core/hub.js';
import type { EncodedMessage } from '../protocol/codec.js';
import { ConfigurationError } from '../protocol/errors.js';
import type { PositionEvent } from '../protocol/gateway.js';
import { placeId } from '../protocol/place-id.js';
import type { Position } from '../protocol/position.js';
import { dropRuleOf } from './drop-rule.js';
import { Frame, encodeFrame, gapFrame, type DropRule } from './frame.js';
import type { SseEventOptions } from './sse-event.js';

/** A message as an event. All streams that send it share one frame, even filtered ones. */
export function eventFrame(hub: Hub, delivery: Delivery): Frame {
  return (delivery.forms.frame ??= frameOf(delivery.encoded, dropRuleOf(hub, delivery))) as Frame;
}

const placedFrames = new WeakMap<Delivery, Frame>();

/** Like {@link eventFrame}, with its position in the history of its channel as `id`, if it has one. */
export function placedFrame(hub: Hub, delivery: Delivery): Frame {
  const { position } = delivery;
  if (position === undefined) return eventFrame(hub, delivery);
  let frame = placedFrames.get(delivery);
  if (frame === undefined) {
    const id = placeId(position);
    const rule = dropRuleOf(hub, delivery);
    frame = frameOf(delivery.encoded, rule && { ...rule, id }, { id });
    placedFrames.set(delivery, frame);
  }
  return frame;
}

const positionFrames = new WeakMap<Position, Frame>();

/** The position of a stream of a channel with history: later messages come after it. */
export function positionFrame(channel: string, position: Position): Frame {
  let frame = positionFrames.get(position);
  if (frame === undefined) {
    const event: PositionEvent = { channels: [{ channel, position }] };
    const data = JSON.stringify(event);
    frame = new Frame(encodeFrame({ event: 'messaging:position', id: placeId(position), data }));
    positionFrames.set(position, frame);
  }
  return frame;
}

const gapFrames = new WeakMap<Gap, Frame>();

const placedGapFrames = new WeakMap<Gap, Frame>();

/**
 * A loss as an event. All streams that report it share one frame.
 *
 * @param id - the position after which the channel continues, for streams with such ids
 */
export function gapFrameOf(gap: Gap, id?: string): Frame {
  const frames = id === undefined ? gapFrames : placedGapFrames;
  let frame = frames.get(gap);
  if (frame === undefined) {
    const { channel, reason } = gap;
    frame = gapFrame({ channel, reason }, id);
    frames.set(gap, frame);
  }
  return frame;
}

/** A copy of a frame, with an `id`. */
export function withId({ bytes, dropRule }: Frame, id: string): Frame {
  return new Frame(Buffer.concat([Buffer.from(`id: ${id}\n`), bytes]), dropRule && { ...dropRule, id });
}

/**
 * @param own - the options of an {@link SseEvent}
 * @throws ConfigurationError for a class with the name of one of EventSource's own events
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
