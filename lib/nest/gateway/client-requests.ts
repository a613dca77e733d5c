import type { IncomingHttpHeaders } from 'node:http';
import { BadRequestException, PayloadTooLargeException, UnsupportedMediaTypeException } from '@nestjs/common';
import { MAX_CHANNEL_NAME_LENGTH, kindOf } from '../../protocol/channel-name.js';
import type { RequestedChange } from '../../gateway/gateway.js';
import { MAX_CONNECTION_LENGTH, MAX_LISTENER_LENGTH, type ChannelRequest } from '../../protocol/gateway.js';
import { REPLAY_FORM, readReplay } from '../../protocol/replay.js';
import type { Limits } from '../../protocol/limits.js';
import { ownText } from '../../protocol/own-text.js';
import { hasMediaType } from '../../protocol/media-type.js';
import { claimOf, type Claim } from '../../gateway/claim.js';
import type { RequestedReplay } from '../../gateway/replay-request.js';
import { positionFrom } from '../../protocol/position.js';
import { exceedsJsonBytes } from './json-length.js';

/** How much one request may contain. */
export type RequestBounds = Pick<Limits, 'maxNamesPerRequest' | 'maxRequestBytes'>;

/** Channels, and how far the client says to have read some of them. */
export interface RequestedChannels {
  readonly channels: string[];
  readonly claims: ReadonlyMap<string, Claim>;
  /** What they want of the past. */
  readonly replays: readonly RequestedReplay[];
}

/**
 * What `POST {path}` opens a stream with. A position that cannot be read, as that of another version, costs a gap.
 *
 * @throws BadRequestException that names what is wrong with the body
 * @throws PayloadTooLargeException if it names more channels than a request may
 */
export function readOpenRequest(
  body: unknown,
  bounds: RequestBounds,
): RequestedChannels & { from: string | undefined; awayMs: number | undefined } {
  const from = fieldOf(body, 'from');
  const awayMs = fieldOf(body, 'awayMs');
  const channels = fieldOf(body, 'channels') ?? noChannels(body as object);
  assertFew(bounds, channels);
  return {
    ...requestedChannels(channels, 'channels'),
    from: typeof from === 'string' && from.length <= MAX_CONNECTION_LENGTH ? from : undefined,
    awayMs: typeof awayMs === 'number' && awayMs >= 0 ? awayMs : undefined,
  };
}

/**
 * The change that `POST {path}/{connection}/channels` asks for.
 *
 * @throws BadRequestException that names what is wrong with the body
 * @throws PayloadTooLargeException if it names more channels than a request may
 */
export function readChangeRequest(body: unknown, bounds: RequestBounds): RequestedChange {
  const wanted = fieldOf(body, 'subscribe') ?? [];
  const left = fieldOf(body, 'unsubscribe') ?? [];
  assertFew(bounds, wanted, left);
  const { channels: subscribe, ...asked } = requestedChannels(wanted, 'subscribe');
  return {
    subscribe,
    ...asked,
    // No channel has a longer name, so no connection is subscribed to one.
    unsubscribe: unique(strings(left, 'unsubscribe')).filter(({ length }) => length <= MAX_CHANNEL_NAME_LENGTH),
    renew: flagOf(body, 'renew'),
  };
}

/**
 * The channels that `GET {path}?channel=a&channel=b` opens a stream with. Read from the URL itself, because the query parser of the
 * application may change lists of more than 20 values.
 *
 * @throws BadRequestException without any
 * @throws PayloadTooLargeException if there are more than a request may name
 */
export function readChannelQuery(url: string, bounds: RequestBounds): string[] {
  const channels = new URLSearchParams(/\?(.*)$/s.exec(url)?.[1]).getAll('channel');
  if (channels.length === 0) {
    throw new BadRequestException('Name the channels to subscribe to: ?channel=a&channel=b');
  }
  assertFew(bounds, channels);
  // Each is a view of the URL, which may be long.
  return unique(channels).map(ownText);
}

/** @throws PayloadTooLargeException if the body of a request is longer than it may be */
export function assertShort(headers: IncomingHttpHeaders, body: unknown, { maxRequestBytes }: RequestBounds): void {
  const length = headers['content-encoding'] === undefined ? headers['content-length'] : undefined;
  // If it is chunked or compressed, only the application's parser has seen its length.
  const isLong = length === undefined ? exceedsJsonBytes(body, maxRequestBytes) : !(Number(length) <= maxRequestBytes);
  if (!isLong) return;
  throw new PayloadTooLargeException(`Send ${maxRequestBytes} bytes at most in one request (limits.maxRequestBytes)`);
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

function assertFew({ maxNamesPerRequest }: RequestBounds, ...lists: readonly unknown[]): void {
  const count = lists.reduce<number>((sum, list) => sum + (Array.isArray(list) ? list.length : 1), 0);
  if (count <= maxNamesPerRequest) return;
  throw new PayloadTooLargeException(
    `Name ${maxNamesPerRequest} channels at most in one request (limits.maxNamesPerRequest)`,
  );
}

function fieldOf(body: unknown, name: string): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    // `bodyParser: false`, as some libraries for sign-ins ask for.
    const advice = body === undefined ? '; has the application a parser of JSON bodies?' : '';
    throw new BadRequestException(`The body must be a JSON object, not ${kindOf(body)}${advice}`);
  }
  return (body as Record<string, unknown>)[name];
}

/**
 * The channels of a body without `channels`, which may ask for none.
 *
 * @throws BadRequestException for other fields: the body was meant for another route, or misspells `channels`
 */
function noChannels(body: object): [] {
  if (Object.keys(body).every((field) => ['from', 'awayMs', 'channels'].includes(field))) return [];
  throw new BadRequestException('"channels" is missing: an array of objects with a "channel"');
}

function flagOf(body: unknown, name: string): boolean {
  const flag = fieldOf(body, name) ?? false;
  if (typeof flag === 'boolean') return flag;
  throw new BadRequestException(`"${name}" must be true or false, not ${kindOf(flag)}`);
}

function requestedChannels(value: unknown, path: string): RequestedChannels {
  if (!Array.isArray(value)) throw new BadRequestException(`"${path}" must be an array, not ${kindOf(value)}`);
  const claims = new Map<string, Claim>();
  const replays: RequestedReplay[] = [];
  const names = value.map((item: unknown, index) => {
    const { channel, position, replay, listener } = (item ?? {}) as Partial<Record<keyof ChannelRequest, unknown>>;
    if (typeof channel !== 'string') {
      throw new BadRequestException(`"${path}[${index}]" must be an object with a "channel", its name`);
    }
    // A position of another form is one that nobody here knows.
    if (position !== undefined) claims.set(channel, claimOf(positionFrom(position) ?? { epoch: '', offset: 0 }));
    if (replay !== undefined) replays.push(requestedReplay(channel, replay, listener, `${path}[${index}]`));
    return channel;
  });
  return { channels: unique(names), claims, replays };
}

function requestedReplay(channel: string, replay: unknown, listener: unknown, path: string): RequestedReplay {
  const start = readReplay(replay);
  if (start === undefined) {
    throw new BadRequestException(`"${path}.replay" must be ${REPLAY_FORM}, not ${kindOf(replay)}`);
  }
  if (listener !== undefined && (typeof listener !== 'string' || listener.length > MAX_LISTENER_LENGTH)) {
    throw new BadRequestException(`"${path}.listener" must be a text of at most ${MAX_LISTENER_LENGTH} characters`);
  }
  return { channel, start, listener };
}

function strings(value: unknown, path: string): string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw new BadRequestException(`"${path}" must be an array of channel names`);
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}
