/**
 * The number of channel groups of an application whose Redis Cluster shards them. Each group is in one slot, so at most this many masters
 * share the channels.
 */
export const GROUPS = 256;

const SLOTS = 16_384;

/** The number of slots for each group. The groups are spread evenly over the slots, and so over the masters. */
const STEP = SLOTS / GROUPS;

const TAGS: readonly string[] = findTags();

/** The group of a channel; the same on every server. */
export function groupOf(channel: string): number {
  // FNV-1a.
  let hash = 0x811c9dc5;
  for (let index = 0; index < channel.length; index++) {
    hash = Math.imul(hash ^ channel.charCodeAt(index), 0x01000193);
  }
  return ((hash >>> 24) ^ (hash >>> 8) ^ hash) & (GROUPS - 1);
}

/** The hash tag in braces of all Redis channels and keys of a group. */
export function tagOf(group: number): string {
  return TAGS[group]!;
}

/** The slot of a group in a Redis Cluster. */
export function slotOfGroup(group: number): number {
  return slotOf(tagOf(group));
}

/** For each group, the smallest number whose slot is in the group's range. */
function findTags(): string[] {
  const tags: string[] = [];
  for (let number = 0, found = 0; found < GROUPS; number++) {
    const group = Math.floor(slotOf(String(number)) / STEP);
    if (tags[group] !== undefined) continue;
    tags[group] = String(number);
    found++;
  }
  return tags;
}

/** The slot of a hash tag: CRC-16 (XMODEM). */
function slotOf(tag: string): number {
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
    crc &= 0xffff;
  }
  return crc % SLOTS;
}
