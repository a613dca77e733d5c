// Stock parts of Nest know a channel by its name without prefix, where each message goes as one packet of its own. All
// servers of this application hear it under the prefixed name already, so the packet says whose it is.

const METADATA = '{"metadata":{';

/** How the packets of an application begin that stand in Redis without prefix. */
export function plainMark(prefix: string): string {
  return `${METADATA}"app":${JSON.stringify(prefix)},`;
}

/**
 * A packet for stock parts, which ignore metadata.
 *
 * @returns `undefined` for a payload that is not an envelope, which they could not read
 */
export function toPlainPacket(envelope: string, mark: string): string | undefined {
  return envelope.startsWith(METADATA) ? mark + envelope.slice(METADATA.length) : undefined;
}
