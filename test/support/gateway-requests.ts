import { expect } from '@jest/globals';
import type { ChannelAnswer, MessageFrame, ReadyEvent } from '../../lib/protocol/gateway.js';
import type { Position } from '../../lib/protocol/position.js';
import { SseClient } from './sse-client.js';

/** A client's stream and its first answers. */
export class Opened implements AsyncDisposable {
  /** Its answers, without the positions. */
  readonly ready: ReadyEvent & { readonly channels: readonly ChannelAnswer[] };
  /** By channel. */
  readonly positions = new Map<string, Position>();

  constructor(
    readonly client: SseClient,
    ready: ReadyEvent,
  ) {
    const channels = ready.channels.map((each): ChannelAnswer => {
      if (!('position' in each)) return each;
      this.positions.set(each.channel, each.position);
      return { channel: each.channel };
    });
    this.ready = { ...ready, channels };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.client[Symbol.asyncDispose]();
  }
}

/** A `fetch` for clients that stream `at` one server and send changes to the `other` one. */
export function changesTo(other: { readonly url: string }, at: { readonly url: string }): typeof fetch {
  return (input, init) => {
    const url = input as string;
    return fetch(url.endsWith('/channels') ? url.replace(at.url, other.url) : url, init);
  };
}

/** The requests of one client to one server. */
export class GatewayRequests {
  constructor(
    private readonly url: string,
    private readonly headers: Record<string, string> = {},
  ) {}

  as(user: string): GatewayRequests {
    return new GatewayRequests(this.url, { ...this.headers, 'x-user': user });
  }

  with(headers: Record<string, string>): GatewayRequests {
    return new GatewayRequests(this.url, { ...this.headers, ...headers });
  }

  async open(...channels: string[]): Promise<Opened> {
    const client = await this.connect({ channels: channels.map((channel) => ({ channel })) });
    const [event, ready] = await client.next();
    if (event !== 'messaging:ready') throw new Error(`the stream began with ${event}`);
    return new Opened(client, ready as ReadyEvent);
  }

  /** Asks for a stream and accepts any answer. */
  connect(body: object): Promise<SseClient> {
    return SseClient.connect(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...this.headers },
      body: JSON.stringify(body),
    });
  }

  get(...channels: string[]): Promise<SseClient> {
    const query = new URLSearchParams(channels.map((channel) => ['channel', channel]));
    return SseClient.connect(`${this.url}?${query.toString()}`, { headers: this.headers });
  }

  change(connection: string, change: object): Promise<Response> {
    return this.post(`/${connection}/channels`, JSON.stringify(change));
  }

  /** The answers to a granted change. */
  async changed(
    connection: string,
    change: { subscribe?: string[]; unsubscribe?: string[] },
  ): Promise<ChannelAnswer[]> {
    const { subscribe = [], unsubscribe = [] } = change;
    const response = await this.change(connection, {
      subscribe: subscribe.map((channel) => ({ channel })),
      unsubscribe,
    });
    if (!response.ok) throw new Error(`the change was answered ${response.status}`);
    return ((await response.json()) as { channels: ChannelAnswer[] }).channels;
  }

  post(path: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(this.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...this.headers, ...headers },
      body,
    });
  }
}

/** The next message of a stream. */
export const frameOf = async (client: SseClient): Promise<MessageFrame> => {
  const [event, data] = await client.next();
  if (event === 'messaging:position') return frameOf(client);
  expect(event).toBe('message');
  return data as MessageFrame;
};
