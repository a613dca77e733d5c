// Stock parts of Nest use the channel's name without prefix, where each message is a packet of its own. All servers of this application
// hear the prefixed name as well, so the packet names its sender.

const METADATA = '{"metadata":{';

/** The beginning of an application's packets in Redis without prefix. */
export function plainMark(prefix: string): string {
  return `${METADATA}"app":${JSON.stringify(prefix)},`;
}

/**
 * Makes a packet for stock parts, which ignore metadata.
 *
 * @returns `undefined` if the payload is not an envelope, which they could not read
 */
export function toPlainPacket(envelope: string, mark: string): string | undefined {
  return envelope.startsWith(METADATA) ? mark + envelope.slice(METADATA.length) : undefined;
}
