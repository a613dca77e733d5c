import {
  isChannel,
  reservedChannel,
  type AnyListenableChannel,
  type Channel,
  type ChannelTemplate,
} from '../../protocol/channel.js';
import { RESERVED_PREFIX, checkChannelName } from '../../protocol/channel-name.js';
import { InvalidChannelError } from '../../protocol/errors.js';
import type { RequestPacket } from './request-reply.js';

/** Where requests with one pattern travel. */
export type RequestChannel = Channel<RequestPacket> | ChannelTemplate<RequestPacket>;

const PREFIX = 'request/';

/**
 * The channel that a pattern of Nest names. A channel may stand where a pattern is due; then its class
 * and its options are those of the messages.
 *
 * @param route - the pattern as a string, as Nest writes it
 * @param where - what the pattern was given to, as the error has it: `@EventPattern("a*")`
 * @throws InvalidChannelError for a pattern that is no channel name
 */
export function eventChannel(pattern: unknown, route: string, where: string): AnyListenableChannel {
  return named(where, () => {
    checkChannelName(route);
    return isChannel(pattern) ? pattern : route;
  });
}

/** The channel that requests with this pattern travel on; else as {@link eventChannel}. */
export function requestChannel(route: string, where: string): RequestChannel {
  return named(where, () => {
    checkChannelName(route);
    return reservedChannel<RequestPacket>(PREFIX + route);
  });
}

/** The pattern, parameters filled in, that a request on this channel was sent to. */
export function requestedName(channel: string): string {
  return channel.slice(RESERVED_PREFIX.length + PREFIX.length);
}

function named<T>(where: string, find: () => T): T {
  try {
    return find();
  } catch (error) {
    if (error instanceof InvalidChannelError)
      throw new InvalidChannelError(`${where}: ${error.message}`, { cause: error });
    throw error;
  }
}
