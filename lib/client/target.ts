import { checkName } from '../protocol/channel-name.js';
import type { Channel, ChannelTemplate } from '../protocol/channel.js';
import { COPY, refuseOtherCopy } from '../protocol/copy.js';
import type { Class } from '../protocol/message.js';
import { nameOfSource } from '../protocol/source.js';

/** What is to be subscribed to. */
export interface Target {
  /** The name or template, as the server is asked for it. */
  readonly name: string;
  /** The segments of the template that names the parameters, if there is one. */
  readonly segments?: readonly string[] | undefined;
  /** The class of the messages, where one is known. */
  readonly type?: Class | undefined;
}

/**
 * Takes off the arguments of a call what they name: a channel, a template, a name, or a source with the class of its messages.
 *
 * @param rest - the arguments behind `channel`
 * @throws InvalidChannelError for a name that cannot be one
 * @throws ConfigurationError for what is no source
 */
export function targetOf(channel: unknown, rest: unknown[]): Target {
  if (typeof channel === 'string') {
    return { name: channel, segments: checkName(channel) };
  }
  refuseOtherCopy(channel);
  if (isChannel(channel)) {
    const { name, definition } = channel;
    return { name, segments: definition.segments, type: definition.type };
  }
  const type = rest.shift() as Class;
  const { name, template } = nameOfSource(channel as object, type);
  return { name, segments: template.split('/'), type };
}

/** By its mark, not by its class: a page that only knows names needs no code of the classes. */
function isChannel(value: unknown): value is Channel | ChannelTemplate {
  const mark = (value as Record<symbol, string | undefined> | null | undefined)?.[COPY];
  return !!mark?.startsWith('Channel');
}
