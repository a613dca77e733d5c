import { quote } from '../protocol/channel-name.js';
import {
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  type MessagingError,
} from '../protocol/errors.js';
import type { ChangeAnswer, ChannelAnswer, ReadyEvent } from '../protocol/gateway.js';
import { hasMediaType } from '../protocol/media-type.js';
import type { CloseReason } from './client-status.js';
import { MAX_TIMEOUT_MS, Stopwatch, type Clock } from './clock.js';
import { failedBy } from './error-of.js';
import { readEvents, type StreamEvent } from './event-reader.js';
import type { LinkReceiver, Progress } from './link.js';
import { Retry } from './retry.js';
import { failureOf, type Post } from './server-requests.js';

/** How long the server may take to make a stream ready, and to answer to a change. */
const ANSWER_TIMEOUT_MS = 30_000;
/** How much goes into one request, to subscribe and to unsubscribe together. */
const MAX_PORTION_BYTES = 40_000;
const encoder = new TextEncoder();
/** How many heartbeats long a stream may be silent. */
const SILENT_HEARTBEATS = 2.5;

/** What a stream is of. */
export interface StreamOwner {
  /** The channels to subscribe to. The stream takes out what is refused. */
  readonly wanted: Set<string>;
  /** Of the last stream that was ready. */
  readonly progress: Progress | undefined;
  readonly receiver: LinkReceiver;
  readonly clock: Clock;
  readonly url: string;
  readonly post: Post;
  ended(end: StreamEnd): void;
}

/** How a stream ended; with a {@link CloseReason}, another one is not to be opened. */
export interface StreamEnd {
  readonly error?: MessagingError;
  readonly reason?: CloseReason | 'drain';
  /** When to come back, as the server has it. */
  readonly retryMs?: number | undefined;
}

/**
 * One event stream, from the attempt to open it to its end, and the changes to what it carries. It brings the server's
 * subscriptions to what is wanted, with one request at a time, so that they cannot overtake each other.
 */
export class ServerStream {
  /** The channels that the server has subscribed to and was not told to leave. */
  readonly confirmed = new Set<string>();
  readonly #owner: StreamOwner;
  /** What the last stream that was ready had. */
  readonly #lost: Progress | undefined;
  readonly #abort = new AbortController();
  readonly #retry: Retry;
  /** The channels that the server may be subscribed to, since it was asked. */
  readonly #held = new Set<string>();
  #isOver = false;
  /** Where changes go, once the stream is ready. */
  #path: string | undefined;
  /** The node's part of positions, with its dot; and the latest position. */
  #node = '';
  #position = '';
  /** Messages that are taken as read when the stream is ready: if it breaks off before, they come again. */
  #early: string[] = [];
  readonly #silence: Stopwatch;
  #limitMs = ANSWER_TIMEOUT_MS;
  #retryMs: number | undefined;
  /** Since a change was asked for. */
  #changing: Stopwatch | undefined;
  #hasFailed = false;
  #watchTimer: unknown;

  constructor(owner: StreamOwner) {
    this.#owner = owner;
    this.#lost = owner.progress;
    this.#retry = new Retry(owner.clock, () => this.reconcile());
    this.#silence = new Stopwatch(owner.clock);
  }

  get isReady(): boolean {
    return this.#path !== undefined;
  }

  /** How far it has been read; nothing before it is ready. */
  get progress(): Progress | undefined {
    return this.#position ? { position: this.#position, channels: this.confirmed } : undefined;
  }

  /** Opens it with what is wanted now. */
  async open(): Promise<void> {
    if (this.#isOver) return;
    this.#watch();
    // The others follow as changes.
    const asked = this.#ask(portionOf(this.#owner.wanted));
    try {
      const { headers, body } = await this.#request('', {
        channels: asked.map((channel) =>
          this.#lost?.channels.has(channel) ? { channel, recover: true } : { channel },
        ),
        ...(this.#lost && { position: this.#lost.position }),
      });
      const type = headers.get('content-type');
      if (!body || !hasMediaType(type, 'text/event-stream')) {
        throw new ConnectionLostError(
          `The gateway at ${this.#owner.url} answered with ${type}, which is no event stream`,
        );
      }
      const receiver = {
        event: (event: StreamEvent) => this.#isOver || this.#take(event, asked),
        retry: (ms: number) => (this.#retryMs = ms),
        heard: () => this.isReady && this.#silence.restart(),
      };
      await readEvents(body, receiver, this.#abort.signal);
      this.end({ error: new ConnectionLostError('The stream broke off') });
    } catch (cause) {
      const error = failedBy(cause, this.#owner.url);
      this.end(error instanceof ConfigurationError ? { error, reason: 'misconfigured' } : { error });
    }
  }

  /** Brings the server to what is wanted, unless it is busy with that; then it will. */
  reconcile(): void {
    if (this.#isOver || !this.isReady || this.#changing || this.#retry.isWaiting) return;
    // First what makes room on the server.
    const left = { bytes: MAX_PORTION_BYTES };
    const unsubscribe = portionOf(
      [...this.#held].filter((channel) => !this.#owner.wanted.has(channel)),
      left,
    );
    const subscribe = portionOf(
      [...this.#owner.wanted].filter((channel) => !this.confirmed.has(channel)),
      left,
    );
    if (subscribe.length + unsubscribe.length > 0) void this.#change(subscribe, unsubscribe);
  }

  /** Looks whether it still lives, and tries again at once what waits to be tried again. */
  wake(): void {
    if (this.#watch()) this.#retry.wake();
  }

  /** Ends it, once. */
  end(end: StreamEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#abort.abort();
    this.#owner.clock.clearTimeout(this.#watchTimer);
    this.#retry.stop();
    this.#owner.ended(end);
  }

  #take({ event, data, id }: StreamEvent, asked: readonly string[]): void {
    const { receiver } = this.#owner;
    if (id && this.#node) this.#position = this.#node + id;
    switch (event) {
      case undefined:
        if (!this.isReady) return void this.#early.push(data);
        return receiver.messages([data]);
      case 'messaging:ready':
        return this.#becomeReady(JSON.parse(data) as ReadyEvent, asked);
      case 'messaging:position':
        return receiver.messages([]);
      case 'messaging:gap':
        return receiver.gap(data);
      case 'messaging:drain':
        return this.end({ reason: 'drain', retryMs: this.#retryMs });
      case 'messaging:end':
      case 'messaging:revoked': {
        const reason = event === 'messaging:end' ? 'end' : 'revoked';
        return this.end({ reason, error: new ConnectionClosedError(`The server closed the connection: ${reason}`) });
      }
    }
  }

  #becomeReady({ connection, heartbeatMs, position, channels }: ReadyEvent, asked: readonly string[]): void {
    if (typeof connection !== 'string') throw new ConnectionLostError('The gateway did not name the stream');
    this.#settle(asked, channels);
    if (this.#isOver) return;
    this.#path = `/${encodeURIComponent(connection)}/channels`;
    this.#position = position ?? '';
    this.#node = this.#position.replace(/\d*$/, '');
    this.#tellGaps(channels);
    this.#owner.receiver.messages(this.#early.splice(0));
    // Each of these may have closed the client.
    if (this.#isOver) return;
    this.#silence.restart();
    this.#limitMs = heartbeatMs > 0 ? heartbeatMs * SILENT_HEARTBEATS : Infinity;
    this.#watch();
    this.#owner.receiver.status({ state: 'open' });
    this.reconcile();
  }

  /** Tells of the channels that were had before, and of which messages are missing now. */
  #tellGaps(answers: readonly ChannelAnswer[]): void {
    const { wanted, receiver } = this.#owner;
    const recovered = new Set(answers.filter((answer) => answer.recovered).map(({ channel }) => channel));
    for (const channel of this.#lost?.channels ?? []) {
      if (wanted.has(channel) && !recovered.has(channel)) receiver.gap(JSON.stringify({ channel, reason: 'trimmed' }));
    }
  }

  async #change(subscribe: readonly string[], unsubscribe: readonly string[]): Promise<void> {
    const { clock, receiver, url } = this.#owner;
    for (const channel of unsubscribe) this.confirmed.delete(channel);
    this.#changing = new Stopwatch(clock);
    this.#watch();
    try {
      const channels = this.#ask(subscribe).map((channel) => ({ channel }));
      const response = await this.#request(this.#path!, { subscribe: channels, unsubscribe });
      const answer = (await response.json()) as ChangeAnswer;
      if (!this.#isOver) this.#settle(subscribe, answer.channels);
      if (this.#isOver) return;
      this.#changing = undefined;
      for (const channel of unsubscribe) this.#held.delete(channel);
      if (this.#hasFailed) receiver.status({ state: 'open' });
      this.#hasFailed = false;
      this.#retry.reset();
      this.reconcile();
    } catch (cause) {
      if (this.#isOver) return;
      this.#changing = undefined;
      this.#hasFailed = true;
      const error = failedBy(cause, url);
      receiver.status({ state: 'open', error, retryAt: this.#retry.wait(error) });
    }
  }

  #ask(channels: Iterable<string>): string[] {
    const asked = [...channels];
    for (const channel of asked) this.#held.add(channel);
    return asked;
  }

  /** Takes the answers to what was asked for: all of them, or it throws. */
  #settle(asked: readonly string[], answers: readonly ChannelAnswer[]): void {
    const errors = new Map(answers.map(({ channel, error }) => [channel, error]));
    const unanswered = asked.find((channel) => !errors.has(channel));
    if (unanswered !== undefined) {
      throw new ConnectionLostError(`The gateway said nothing about channel ${quote(unanswered)}`);
    }
    for (const channel of asked) {
      const error = errors.get(channel);
      if (error) {
        this.#held.delete(channel);
        this.#owner.wanted.delete(channel);
      } else {
        this.confirmed.add(channel);
      }
      this.#owner.receiver.answer(error ? { channel, error } : { channel });
    }
  }

  async #request(path: string, body: Parameters<Post>[1]): Promise<Response> {
    const { post, url, clock } = this.#owner;
    const response = await post(path, body, this.#abort.signal);
    if (response.status === 200 && !this.#isOver) return response;
    response.body?.cancel().catch(() => {});
    const failure: StreamEnd & { error: MessagingError } =
      path && response.status === 404
        ? { error: new ConnectionLostError(`The gateway at ${url} answered with status 404: the stream has ended`) }
        : failureOf(response, url, clock);
    if (failure.reason || response.status === 404) this.end(failure);
    throw failure.error;
  }

  /** Sees to it that it ends where nothing comes. One timer, whatever comes: it looks at the time when it goes off. */
  #watch(): boolean {
    const { clock } = this.#owner;
    clock.clearTimeout(this.#watchTimer);
    const answerMs = this.#changing ? ANSWER_TIMEOUT_MS - this.#changing.elapsedMs : Infinity;
    const leftMs = Math.min(this.#limitMs - this.#silence.elapsedMs, answerMs);
    if (leftMs <= 0) this.end({ error: new ConnectionLostError('The server has fallen silent') });
    else if (leftMs < Infinity) {
      this.#watchTimer = clock.setTimeout(() => this.#watch(), Math.min(leftMs, MAX_TIMEOUT_MS));
    }
    return !this.#isOver;
  }
}

/**
 * As many of some channels as go into one request: many servers take bodies of no more than 100 kB, and hand on to each
 * other no more than `limits.maxMessageBytes`.
 *
 * @param left - how much room there is; what is taken is taken off
 */
function portionOf(channels: Iterable<string>, left = { bytes: MAX_PORTION_BYTES }): string[] {
  const portion: string[] = [];
  for (const channel of channels) {
    // With `{"channel":…},` around it.
    const bytes = encoder.encode(JSON.stringify(channel)).length + 13;
    if (bytes > left.bytes) break;
    left.bytes -= bytes;
    portion.push(channel);
  }
  return portion;
}
