import http from 'node:http';
import { createParser } from 'eventsource-parser';
import { defineChannel, MessagingClient } from 'nestjs-messaging/client';
import type { FaultMessage } from './fault-node.js';
import { ReaderLog, type Ledger } from './ledger.js';
import { machineClock } from './machine-clock.js';
import type { TcpProxy } from './tcp-proxy.js';

/** The template of all channels of all runs, as fault-node.ts defines it. */
const TEMPLATE = 'faults/:run/:name';
const Numbered = defineChannel<FaultMessage, typeof TEMPLATE>(TEMPLATE, undefined, { clients: true });

/** What a reader and its checker need. */
export interface ReaderSettings {
  readonly id: string;
  /** The way to the servers, where its network fails. */
  readonly line: TcpProxy;
  readonly ledger: Ledger;
  readonly run: string;
  /** The last parts of the channels' names; `*`: all of them, by the template. */
  readonly names: readonly string[];
  /** Whether gaps do not reach the checker, which has to miss them then. */
  readonly isDeafToGaps: boolean;
}

/** Somebody outside of the servers who reads channels: see {@link ClientReader} and {@link NativeReader}. */
export interface FaultReader {
  readonly id: string;
  readonly logs: ReadonlyMap<string, ReaderLog>;
  /** When it was opened, each time. */
  readonly openedAtMs: readonly number[];
  /** What to know of it if it does not come back. */
  readonly state: string;
  /** What a browser tells a page. */
  networkIsBack(): void;
  close(): void;
}

/** A log for each subscribed name, from now on. */
class Reading {
  readonly logs = new Map<string, ReaderLog>();
  readonly openedAtMs: number[] = [];
  readonly #settings: ReaderSettings;

  constructor(settings: ReaderSettings) {
    this.#settings = settings;
  }

  begin(): void {
    const { id, ledger, run, names } = this.#settings;
    for (const name of names) {
      const full = subscribedName(run, name);
      const hears = name === '*' ? () => true : (channel: string) => channel === full;
      this.logs.set(full, ledger.add(new ReaderLog(id, full, hears, machineClock())));
    }
  }

  message(name: string, message: FaultMessage): void {
    if (message.run !== this.#settings.run) return;
    this.logs.get(name)?.message(message.poster, channelOf(message.run, message.name), message.n, machineClock());
  }

  gap({ channel, reason }: { readonly channel: string; readonly reason: string }): void {
    if (!this.#settings.isDeafToGaps) this.logs.get(channel)?.gap(reason, machineClock());
  }

  opened(): void {
    this.openedAtMs.push(machineClock());
  }
}

/** Our client. */
export class ClientReader implements FaultReader {
  readonly id: string;
  readonly #reading: Reading;
  readonly #client: MessagingClient;

  private constructor(settings: ReaderSettings) {
    this.id = settings.id;
    this.#reading = new Reading(settings);
    this.#client = new MessagingClient({ url: `http://127.0.0.1:${settings.line.port}/messages` });
    this.#client.onGap((gap) => this.#reading.gap(gap));
    this.#client.onStatus(({ state }) => state === 'open' && this.#reading.opened());
  }

  /** Resolves when it is subscribed. */
  static async open(settings: ReaderSettings): Promise<ClientReader> {
    const reader = new ClientReader(settings);
    reader.#reading.begin();
    await Promise.all(
      settings.names.map((name) => {
        const channel = name === '*' ? Numbered : Numbered.for({ run: settings.run, name });
        return reader.#client.subscribe(channel, (message) => reader.#reading.message(channel.name, message));
      }),
    );
    return reader;
  }

  get logs(): ReadonlyMap<string, ReaderLog> {
    return this.#reading.logs;
  }

  get openedAtMs(): readonly number[] {
    return this.#reading.openedAtMs;
  }

  get state(): string {
    const { state, reason, error } = this.#client.status;
    return [state, reason, error?.message].filter(Boolean).join(', ');
  }

  networkIsBack(): void {
    this.#client.retryNow();
  }

  close(): void {
    this.#client.close();
  }
}

/** What a browser's own EventSource does: comes back after the server's `retry`, with the last id. */
export class NativeReader implements FaultReader {
  readonly id: string;
  readonly #reading: Reading;
  readonly #url: string;
  readonly #channels: readonly string[];
  #lastEventId: string | undefined;
  #retryMs = 3_000;
  #isClosed = false;
  #request: http.ClientRequest | undefined;
  #timer: NodeJS.Timeout | undefined;
  state = 'new';

  private constructor(settings: ReaderSettings) {
    this.id = settings.id;
    this.#reading = new Reading(settings);
    this.#channels = settings.names.map((name) => subscribedName(settings.run, name));
    const query = this.#channels.map((name) => `channel=${encodeURIComponent(name)}`).join('&');
    this.#url = `http://127.0.0.1:${settings.line.port}/messages?${query}`;
  }

  static async open(settings: ReaderSettings): Promise<NativeReader> {
    const reader = new NativeReader(settings);
    reader.#reading.begin();
    await new Promise<void>((resolve) => reader.#connect(resolve));
    return reader;
  }

  get logs(): ReadonlyMap<string, ReaderLog> {
    return this.#reading.logs;
  }

  get openedAtMs(): readonly number[] {
    return this.#reading.openedAtMs;
  }

  networkIsBack(): void {
    // Comes back when its time has come.
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#request?.destroy();
  }

  #connect(opened?: () => void): void {
    this.state = 'connecting';
    const headers = this.#lastEventId === undefined ? {} : { 'last-event-id': this.#lastEventId };
    const request = http.get(this.#url, { headers, agent: false });
    this.#request = request;
    request.on('error', () => {});
    request.on('response', (response) => {
      response.on('error', () => {});
      if (response.statusCode !== 200) {
        this.state = `closed, HTTP ${response.statusCode}`;
        this.#isClosed = true;
        return request.destroy();
      }
      this.state = 'open';
      const parser = createParser({
        onEvent: ({ event, id, data }) => {
          if (id !== undefined) this.#lastEventId = id;
          if (event === 'messaging:gap') this.#reading.gap(JSON.parse(data) as { channel: string; reason: string });
          if (event === 'messaging:ready') {
            this.#reading.opened();
            opened?.();
          }
          if (event === undefined) this.#take(JSON.parse(data) as FaultMessage);
        },
        onRetry: (ms) => (this.#retryMs = ms),
      });
      response.setEncoding('utf8').on('data', (text: string) => parser.feed(text));
      return undefined;
    });
    request.on('close', () => {
      if (this.#isClosed) return;
      this.state = 'waiting';
      this.#timer = setTimeout(() => this.#connect(opened), this.#retryMs);
    });
  }

  #take(message: FaultMessage): void {
    const channel = channelOf(message.run, message.name);
    this.#reading.message(this.#channels.includes(channel) ? channel : TEMPLATE, message);
  }
}

function subscribedName(run: string, name: string): string {
  return name === '*' ? TEMPLATE : channelOf(run, name);
}

function channelOf(run: string, name: string): string {
  return `faults/${run}/${name}`;
}
