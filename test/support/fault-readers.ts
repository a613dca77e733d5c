import http from 'node:http';
import { createParser } from 'eventsource-parser';
import { MessagingClient, type Position } from 'nestjs-messaging/client';
import { channelOf, hearsOf, keepsHistory, type FaultMessage } from './fault-channels.js';
import { HistoryLog, type HistoryLedger } from './history-ledger.js';
import { ReaderLog, type Ledger } from './ledger.js';
import { machineClock } from './machine-clock.js';
import type { TcpProxy } from '../../lib/testing/tcp-proxy.js';

/** What a reader and its checker need. */
export interface ReaderSettings {
  readonly id: string;
  /** The way to the servers, where its network fails. */
  readonly line: TcpProxy;
  readonly ledger: Ledger;
  readonly histories: HistoryLedger;
  readonly run: string;
  /** Of channels and templates, as `channelOf` takes them. */
  readonly names: readonly string[];
  /** Whether gaps do not reach the checker, which has to miss them then. */
  readonly isDeafToGaps: boolean;
}

/** What one reader was given of one channel or template. */
export type AnyLog = ReaderLog | HistoryLog;

/** Somebody outside of the servers who reads channels: see {@link ClientReader} and {@link NativeReader}. */
export interface FaultReader {
  readonly id: string;
  readonly logs: ReadonlyMap<string, AnyLog>;
  /** When it was opened, each time. */
  readonly openedAtMs: readonly number[];
  /** What to know of it if it does not come back. */
  readonly state: string;
  /** What a browser tells a page. */
  networkIsBack(): void;
  close(): void;
}

/** What clients are told of a gap. */
interface GapNote {
  readonly channel: string;
  readonly template?: string;
  readonly reason: string;
  readonly position?: Position;
}

/** A log for each subscribed name, from now on. */
class Reading {
  readonly logs = new Map<string, AnyLog>();
  readonly openedAtMs: number[] = [];
  readonly #settings: ReaderSettings;

  constructor(settings: ReaderSettings) {
    this.#settings = settings;
  }

  begin(): void {
    const { id, ledger, histories, run, names } = this.#settings;
    for (const each of names) {
      const { name } = channelOf(run, each);
      const [hears, atMs] = [hearsOf(name), machineClock()];
      const log = keepsHistory(name)
        ? histories.add(new HistoryLog(id, name, hears, atMs, { isTemplate: name.includes(':') }))
        : ledger.add(new ReaderLog(id, name, hears, atMs));
      this.logs.set(name, log);
    }
  }

  /** @param name - that was subscribed to */
  message(name: string, message: FaultMessage, position?: Position): void {
    const { run } = this.#settings;
    const channel = channelOf(message.run, message.name).name;
    if (message.run !== run && !keepsHistory(channel)) return;
    const poster = message.run === run ? message.poster : `${message.run}/${message.poster}`;
    this.logs.get(name)?.message(poster, channel, message.n, machineClock(), position);
  }

  gap({ channel, template, reason, position }: GapNote): void {
    if (this.#settings.isDeafToGaps) return;
    const at = position && { ...position, epoch: position.epoch.replace(/^h\./, '') };
    this.logs.get(template ?? channel)?.gap(reason, machineClock(), at);
  }

  opened(): void {
    this.openedAtMs.push(machineClock());
  }
}

/** Our client. */
export class ClientReader implements FaultReader {
  readonly id: string;
  readonly #reading: Reading;
  #client: MessagingClient;

  private constructor(private readonly settings: ReaderSettings) {
    this.id = settings.id;
    this.#reading = new Reading(settings);
    this.#client = this.#newClient();
  }

  /** Resolves when it is subscribed. */
  static async open(settings: ReaderSettings): Promise<ClientReader> {
    const reader = new ClientReader(settings);
    reader.#reading.begin();
    await reader.#subscribe();
    return reader;
  }

  /** As a page that is loaded anew, and goes on where it was: of channels with history. */
  async reload(): Promise<void> {
    const { logs } = this.#reading;
    // What it has read nothing of yet, it could only begin anew.
    const isBegun = [...logs].every(([name, log]) => !(log instanceof HistoryLog) || log.position(name) !== undefined);
    if (!isBegun) return;
    this.#client.close();
    this.#client = this.#newClient();
    // The end of the run may come first.
    await this.#subscribe().catch(() => {});
  }

  #newClient(): MessagingClient {
    const client = new MessagingClient({ url: `http://127.0.0.1:${this.settings.line.port}/messages` });
    client.onGap((gap) => this.#reading.gap(gap));
    client.onStatus(({ state }) => state === 'open' && this.#reading.opened());
    return client;
  }

  async #subscribe(): Promise<void> {
    await Promise.all(
      this.settings.names.map((name) => {
        const channel = channelOf(this.settings.run, name);
        const log = this.#reading.logs.get(channel.name);
        const replay = log instanceof HistoryLog ? log.position(channel.name) : undefined;
        return this.#client.subscribe(
          channel,
          (message, { position }) => this.#reading.message(channel.name, message, position),
          replay && { replay },
        );
      }),
    );
  }

  get logs(): ReadonlyMap<string, AnyLog> {
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

/**
 * What a browser's own EventSource does: comes back after the server's `retry`, with the last id. It reads channels of the
 * gateway, or a stream of `@Sse()`.
 */
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

  private constructor(
    settings: ReaderSettings,
    private readonly ofHandler: string | undefined,
  ) {
    this.id = settings.id;
    this.#reading = new Reading(settings);
    this.#channels = settings.names.map((name) => channelOf(settings.run, name).name);
    const query = this.#channels.map((name) => `channel=${encodeURIComponent(name)}`).join('&');
    this.#url = `http://127.0.0.1:${settings.line.port}/${ofHandler ?? `messages?${query}`}`;
  }

  /** @param ofHandler - the path of an `@Sse()` handler that streams the channel; none: the gateway's */
  static async open(settings: ReaderSettings, ofHandler?: string): Promise<NativeReader> {
    const reader = new NativeReader(settings, ofHandler);
    reader.#reading.begin();
    await new Promise<void>((resolve) => reader.#connect(resolve));
    return reader;
  }

  get logs(): ReadonlyMap<string, AnyLog> {
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
      const becomeOpen = (): void => {
        this.state = 'open';
        this.#reading.opened();
        opened?.();
      };
      if (this.ofHandler !== undefined) becomeOpen();
      const parser = createParser({
        onEvent: ({ event, id, data }) => {
          if (id !== undefined) this.#lastEventId = id;
          if (event === 'messaging:gap') this.#reading.gap(JSON.parse(data) as GapNote);
          if (event === 'messaging:ready') becomeOpen();
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
    const { name } = channelOf(message.run, message.name);
    const subscribed =
      this.#channels.find((each) => each === name) ?? this.#channels.find((each) => hearsOf(each)(name));
    if (subscribed !== undefined) this.#reading.message(subscribed, message);
  }
}
