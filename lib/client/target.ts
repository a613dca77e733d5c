import { checkChannelName } from '../protocol/channel-name.js';
import { isChannel } from '../protocol/channel.js';
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

/** Whether the first argument says all; after a source comes the class of the messages. */
export function namesChannel(value: unknown): boolean {
  return typeof value === 'string' || isChannel(value);
}

/**
 * What the arguments of a call name: a channel, a template, a name, or a source with the class of its messages.
 *
 * @throws InvalidChannelError for a name that cannot be one
 * @throws ConfigurationError for what is no source
 */
export function targetOf(channel: unknown, type: unknown): Target {
  if (typeof channel === 'string') {
    return { name: channel, segments: checkChannelName(channel) === 'template' ? channel.split('/') : undefined };
  }
  if (isChannel(channel)) {
    const { name, definition } = channel;
    return { name, segments: definition.segments, type: definition.type };
  }
  const { name, template } = nameOfSource(channel as object, type as Class);
  return { name, segments: template.split('/'), type: type as Class };
}
