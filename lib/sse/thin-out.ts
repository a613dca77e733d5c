import { Batch } from './batch.js';
import { droppedFrame, type DropRule, type Frame } from './frame.js';

// A slow reader need not be checked again for each frame.
const ROOM_AFTERWARDS = 0.5;

/**
 * Reduces the waiting frames of a slow reader as far as their channels permit: first all but the latest of the frames with the same key,
 * then the oldest droppable frames. A `messaging:gap` for each channel takes their place.
 *
 * @param maxBytes - how much may wait besides one frame, which may have any length
 * @returns `undefined` if that is not enough
 */
export function thinOut(batch: Batch, maxBytes: number): Batch | undefined {
  const latest = latestOfEachKey(batch.frames);
  const kept = dropOldest(latest, maxBytes);
  const thinned = kept.reduce((thinner, frame) => thinner.add(frame), Batch.empty());
  return fits(thinned, maxBytes) ? thinned : undefined;
}

/** Whether the waiting bytes are within the limit. The longest frame is not counted; otherwise no message could exceed the limit. */
export function fits({ length, longest }: Batch, maxBytes: number): boolean {
  return length - longest <= maxBytes;
}

function latestOfEachKey(frames: readonly Frame[]): Frame[] {
  const seen = new Map<string, Set<string | number>>();
  return frames
    .toReversed()
    .filter(({ dropRule }) => {
      if (dropRule?.key === undefined) return true;
      const keys = seen.get(dropRule.channel);
      if (keys === undefined) seen.set(dropRule.channel, new Set([dropRule.key]));
      else if (keys.has(dropRule.key)) return false;
      else keys.add(dropRule.key);
      return true;
    })
    .toReversed();
}

function dropOldest(frames: readonly Frame[], maxBytes: number): readonly Frame[] {
  const longestToStay = frames.reduce(
    (longest, { dropRule, bytes: { length } }) => (mayGo(dropRule) ? longest : Math.max(longest, length)),
    0,
  );
  let bytes = frames.reduce((sum, frame) => sum + frame.bytes.length, -longestToStay);
  if (bytes <= maxBytes) return frames;
  // The gap takes the place of the last dropped frame of its channel: a client that has read up to its id has read everything before it.
  const dropped = new Map<string, number>();
  const kept = frames.map((frame, index) => {
    const { dropRule } = frame;
    if (!mayGo(dropRule) || bytes <= maxBytes * ROOM_AFTERWARDS) return frame;
    bytes -= frame.bytes.length;
    dropped.set(keyOf(dropRule), index);
    return dropRule;
  });
  return kept.flatMap((frame, index) => {
    if ('bytes' in frame) return [frame];
    return dropped.get(keyOf(frame)) === index ? [droppedFrame(frame)] : [];
  });
}

/** One stream may have a channel both by name and through templates. */
function keyOf({ channel, template }: DropRule): string {
  return `${template ?? ''}\n${channel}`;
}

function mayGo(dropRule: DropRule | undefined): dropRule is DropRule {
  return dropRule !== undefined && dropRule.key === undefined;
}
