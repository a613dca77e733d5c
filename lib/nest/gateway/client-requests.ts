import { BadRequestException, UnsupportedMediaTypeException } from '@nestjs/common';
import { MAX_CHANNEL_NAME_LENGTH, describe } from '../../protocol/channel-name.js';
import { hasMediaType } from '../../protocol/media-type.js';
import type { Position } from '../../gateway/client-recovery.js';

/**
 * What `POST {path}` opens a stream with: channels, and those of them that a stream had which was read up to a position.
 *
 * @throws BadRequestException that names what is wrong with the body
 */
export function readOpenRequest(body: unknown): { channels: string[]; lost: string[]; position: Position | undefined } {
  const items = fieldOf(body, 'channels') ?? [];
  const channels = channelNames(items, 'channels');
  return {
    channels,
    lost: (items as { channel: string; recover?: unknown }[]).filter(isLost).map(({ channel }) => channel),
    position: positionOf(fieldOf(body, 'position')),
  };
}

function isLost({ recover = false }: { recover?: unknown }, index: number): boolean {
  if (typeof recover === 'boolean') return recover;
  throw new BadRequestException(`"channels[${index}].recover" must be true or false, not ${describe(recover)}`);
}

/**
 * The change that `POST {path}/{connection}/channels` asks for.
 *
 * @throws BadRequestException that names what is wrong with the body
 */
export function readChangeRequest(body: unknown): { subscribe: string[]; unsubscribe: string[] } {
  return {
    subscribe: channelNames(fieldOf(body, 'subscribe') ?? [], 'subscribe'),
    // No channel has a longer name, so no connection is subscribed to one.
    unsubscribe: unique(strings(fieldOf(body, 'unsubscribe') ?? [], 'unsubscribe')).filter(
      ({ length }) => length <= MAX_CHANNEL_NAME_LENGTH,
    ),
  };
}

/**
 * The channels that `GET {path}?channel=a&channel=b` opens a stream with.
 *
 * @throws BadRequestException without any
 */
export function readChannelQuery(query: unknown): string[] {
  const channel = (query as Record<string, unknown> | null | undefined)?.['channel'];
  if (channel === undefined) {
    throw new BadRequestException('Name the channels to subscribe to: ?channel=a&channel=b');
  }
  return unique(strings(Array.isArray(channel) ? channel : [channel], 'channel'));
}

/**
 * A page of another site can send forms and texts in a user's name, but JSON only where CORS lets it.
 *
 * @throws UnsupportedMediaTypeException for anything else
 */
export function assertJson(contentType: string | string[] | undefined): void {
  if (hasMediaType(contentType, 'application/json')) return;
  throw new UnsupportedMediaTypeException('Send the body as application/json');
}

function fieldOf(body: unknown, name: string): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new BadRequestException(`The body must be a JSON object, not ${describe(body)}`);
  }
  return (body as Record<string, unknown>)[name];
}

function channelNames(value: unknown, path: string): string[] {
  if (!Array.isArray(value)) throw new BadRequestException(`"${path}" must be an array, not ${describe(value)}`);
  return unique(
    value.map((item: unknown, index) => {
      const channel = (item as { channel?: unknown } | null | undefined)?.channel;
      if (typeof channel === 'string') return channel;
      throw new BadRequestException(`"${path}[${index}]" must be an object with a "channel", its name`);
    }),
  );
}

function positionOf(value: unknown): Position | undefined {
  if (value === undefined) return undefined;
  const [, node, seq] = (typeof value === 'string' && /^([\da-f-]{36})\.(\d{1,15})$/.exec(value)) || [];
  if (node === undefined)
    throw new BadRequestException(`"position" must be one that a stream has told, not ${describe(value)}`);
  return { node, seq: Number(seq) };
}

function strings(value: unknown, path: string): string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw new BadRequestException(`"${path}" must be an array of channel names`);
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}
