import { hostileEventId, hostilePosition, hostileReplay } from './hostile-places.js';
import {
  NASTY_JSON,
  altered,
  channelNames,
  connectionId,
  damaged,
  messageData,
  pick,
  type Targets,
} from './hostile-texts.js';
import type { Random } from './random.js';

// The requests of a hostile client.

/** Whose code answers a request: the library's, or the application's, which may fail in any way. */
export interface HostileRequest {
  readonly of: 'gateway' | 'application';
  readonly text: string;
}

/** A request as it is sent. */
export function hostileRequest(random: Random, targets: Targets): HostileRequest {
  const kind = random(100);
  if (kind < 20) return { of: 'gateway', text: requestOf(random, targets, 'GET', eventSourcePath(random)) };
  if (kind < 45)
    return { of: 'gateway', text: requestOf(random, targets, 'POST', '/messages', openBody(random, targets)) };
  if (kind < 70) {
    const path = `/messages/${connectionId(random, targets)}/channels`;
    return { of: 'gateway', text: requestOf(random, targets, 'POST', path, changeRequestBody(random, targets)) };
  }
  if (kind < 85) return { of: 'application', text: requestOf(random, targets, 'GET', `/sse/${random(100)}`) };
  if (kind < 97) {
    const channel = pick(random, [
      'good',
      'checked',
      'transformed',
      'any~a',
      'open~a',
      'chain~5',
      'messaging:x',
      '%00',
      '*',
    ]);
    return {
      of: 'application',
      text: requestOf(random, targets, 'POST', `/post/${channel}/${random(500)}`, messageData(random)),
    };
  }
  const user = pick(random, ['victim', 'ada', '7', '%20']);
  return { of: 'application', text: requestOf(random, targets, 'POST', `/revoke/${user}/${random(4)}`, '{}') };
}

function eventSourcePath(random: Random): string {
  const names = channelNames(random).slice(0, 30);
  const key = pick(random, ['channel', 'channel', 'channel', 'channel[]', 'channel[a]', '__proto__', '']);
  return `/messages?${names.map((name) => `${key}=${encode(name)}`).join('&')}`;
}

function encode(text: string): string {
  return encodeURIComponent(text.replace(/[\ud800-\udfff]/g, '%ED%A0%80'));
}

function requestedChannels(random: Random, targets: Targets): string {
  const requested = channelNames(random).map((channel) => {
    const parts = [`"channel":${JSON.stringify(channel)}`];
    if (random(3) === 0) parts.push(`"position":${hostilePosition(random, targets)}`);
    if (random(4) === 0) parts.push(hostileReplay(random, targets));
    return `{${parts.join()}}`;
  });
  return `[${requested.join()}]`;
}

function openBody(random: Random, targets: Targets): string {
  const from = pick(random, [...targets.connections, ...targets.nodes, '', 'x'.repeat(200)]);
  const rest = random(3) === 0 ? `,"from":${JSON.stringify(from)}` : '';
  return bodyOf(random, `{"channels":${requestedChannels(random, targets)}${rest}}`);
}

function changeRequestBody(random: Random, targets: Targets): string {
  const rest = random(4) === 0 ? `,"renew":${pick(random, ['true', 'false', '{}', '1'])}` : '';
  const unsubscribe = JSON.stringify(channelNames(random));
  return bodyOf(random, `{"subscribe":${requestedChannels(random, targets)},"unsubscribe":${unsubscribe}${rest}}`);
}

function bodyOf(random: Random, json: string): string {
  const form = random(20);
  if (form < 9) return json;
  if (form < 13) return altered(random, json);
  if (form < 17) return damaged(random, json);
  return pick(random, NASTY_JSON);
}

function requestOf(random: Random, targets: Targets, method: string, path: string, body?: string): string {
  const headers = ['host: 127.0.0.1', ...authHeader(random)];
  if (random(3) === 0) headers.push(`last-event-id: ${hostileEventId(random, targets)}`);
  if (random(6) === 0) headers.push(...origin(random));
  if (random(30) === 0)
    headers.push(pick(random, ['x-a: \u0001', 'bad header', `x-b: ${'b'.repeat(20_000)}`, ': none', 'te: x\ry']));
  if (random(10) === 0)
    headers.push(pick(random, ['accept: text/event-stream', 'accept: image/png', 'connection: close', 'expect: x']));
  if (body === undefined) return `${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`;
  headers.push(
    `content-type: ${random(8) > 0 ? 'application/json' : pick(random, ['text/plain', 'application/jsonx', 'a/b; =', 'x'])}`,
  );
  const length = Buffer.byteLength(body);
  const isChunked = random(15) === 0;
  if (isChunked) headers.push('transfer-encoding: chunked');
  else headers.push(`content-length: ${random(40) === 0 ? length + random(20) - 10 : length}`);
  const content = isChunked ? `${length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body;
  return `${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${content}`;
}

function authHeader(random: Random): string[] {
  const form = random(10);
  if (form < 3) return [];
  if (form < 7) return [`x-auth: user:${pick(random, ['victim', 'ada', '7', 'constructor'])}`];
  return [form < 9 ? `x-auth: fail:${random(100)}` : `x-auth: shape:${random(100)}`];
}

function origin(random: Random): string[] {
  const site = pick(random, ['same-origin', 'cross-site', 'none', 'x']);
  const from = pick(random, ['null', 'http://127.0.0.1', 'https://evil.example', `http://${'['.repeat(50)}`, '\u00ff']);
  return [`origin: ${from}`, ...(random(2) === 0 ? [`sec-fetch-site: ${site}`] : [])];
}
