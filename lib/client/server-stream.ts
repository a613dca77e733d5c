import { quote } from '../protocol/channel-name.js';
import {
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  type MessagingError,
} from '../protocol/errors.js';
import {
  PROBE_MS,
  SILENT_HEARTBEATS,
  type ChangeAnswer,
  type ChannelAnswer,
  type ChannelPosition,
  type ChannelRequest,
  type PositionEvent,
  type ReadyEvent,
  type ReplayEvent,
  type WithdrawnEvent,
} from '../protocol/gateway.js';
import { hasMediaType } from '../protocol/media-type.js';
import type { CloseReason, ReturnReason } from './client-status.js';
import { stopwatch, type Clock } from './clock.js';
import { failedBy } from './error-of.js';
import { readEvents, type StreamEvent } from './event-reader.js';
import { PastStream, type PastOwner } from './past-stream.js';
import { portionOf, Room } from './portion.js';
import { advance, nameOf } from './positions.js';
import { Retry } from './retry.js';
import { failureOf, type Post } from './server-requests.js';
import { ANSWER_TIMEOUT_MS, LASTING_MS, LATE_MS, OPEN_TIMEOUT_MS, PATIENCE_MS } from './times.js';

/** The owner of a stream, and its tools. */
export interface StreamOwner extends PastOwner {
  /** Whether requests leave out positions, since the server does not understand them. */
  readonly isPlain: boolean;
  /** The last connection. */
  readonly from: string | undefined;
  /** When a stream last brought anything, by `uptime`. */
  heardAt: number;
  readonly clock: Clock;
  readonly url: string;
  readonly post: Post;
  ended(end: StreamEnd): void;
}

/** The outcome for a channel. */
type Answer = ChannelAnswer & Partial<Pick<ChannelPosition, 'position' | 'recovered' | 'reason'>>;

/** The server's answers to a request. */
type Answers = Pick<ChangeAnswer, 'replays'> & { readonly channels: readonly Answer[] };

/** How a stream ended. After a {@link CloseReason} no other one should be opened. */
export interface StreamEnd {
  readonly error?: MessagingError;
  readonly reason?: CloseReason | undefined;
  /** Why the server has sent the client to another one, if it has. */
  readonly sentBy?: ReturnReason;
  /** The status that was answered instead of a stream, if that is the reason. */
  readonly status?: number;
  /** How long to stay away, as the server asks. */
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
  readonly #wanted: StreamOwner['wanted'];
  readonly #positions: StreamOwner['positions'];
  readonly #url: string;
  readonly #abort = new AbortController();
  readonly #retry: Retry;
  /** The channels that the server may be subscribed to, since it was asked. */
  readonly #held = new Set<string>();
  readonly #past: PastStream;
  #isOver = false;
  /** Its name for changes, once it is ready. */
  connection: string | undefined;
  /** Whether the server says in the stream from where channels go on that a change subscribes to. */
  #hasPositions = false;
  /** For how long nothing has come. */
  #silentMs: () => number;
  #limitMs = OPEN_TIMEOUT_MS;
  /** When something must have come, by `uptime`, if it is in doubt whether the stream lives; else 0. */
  #doubtBy = 0;
  /** When it became ready, by `uptime`. */
  #readyAt = Infinity;
  #hasDelivered = false;
  #retryMs: number | undefined;
  /** When the server must have answered to the change that was asked for, by `uptime`; 0 for none. */
  #answerBy = 0;
  #hasFailed = false;
  /** Whether its sign-in is about to expire. */
  #mustRenew = false;
  #watchTimer: unknown;

  constructor(owner: StreamOwner) {
    this.#owner = owner;
    this.#wanted = owner.wanted;
    this.#positions = owner.positions;
    this.#url = owner.url;
    this.#past = new PastStream(owner);
    this.#retry = new Retry(owner.clock, () => this.reconcile());
    this.#silentMs = stopwatch(owner.clock);
  }

  /** Whether it was worth opening. */
  get isSuccess(): boolean {
    return this.#hasDelivered || this.#owner.clock.uptime() - this.#readyAt >= LASTING_MS;
  }

  /** Opens it with what is wanted now. */
  async open(): Promise<void> {
    if (this.#isOver) return;
    this.#watch();
    // The others follow as changes.
    const { from, heardAt } = this.#owner;
    const asked = this.#ask(this.#wanted, new Room());
    try {
      const returned = from && { from, awayMs: Math.floor(this.#owner.clock.uptime() - heardAt) };
      const { headers, body } = await this.#request('', { channels: asked, ...returned });
      const type = headers.get('content-type');
      if (!body || !hasMediaType(type, 'text/event-stream')) {
        throw new ConnectionLostError(`The server at ${this.#url} answered with ${type}, no event stream`);
      }
      const receiver = {
        event: (event: StreamEvent) => this.#isOver || this.#take(event, asked),
        retry: (ms: number) => (this.#retryMs = ms),
        heard: () => {
          this.#silentMs = stopwatch(this.#owner.clock);
          this.#owner.heardAt = this.#owner.clock.uptime();
          this.#doubtBy = 0;
        },
      };
      await readEvents(body, receiver, this.#abort.signal);
      throw new ConnectionLostError('The stream broke off');
    } catch (cause) {
      const error = failedBy(cause, this.#url);
      this.end({ error, reason: error instanceof ConfigurationError ? 'misconfigured' : undefined });
    }
  }

  /**
   * Brings the server to what is wanted, unless it is busy with that; then it will.
   *
   * @param isProbe - whether it is asked for an answer also if there is nothing to change
   */
  reconcile(isProbe = false): void {
    if (this.#isOver || !this.connection || this.#answerBy || this.#retry.isWaiting) return;
    // First what makes room on the server.
    const left = new Room();
    const unsubscribe = portionOf(
      [...this.#held].filter((channel) => !this.#wanted.has(channel)),
      left,
    );
    const subscribe = this.#ask(
      [...this.#wanted].filter((channel) => !this.confirmed.has(channel)),
      left,
    );
    if (isProbe || this.#mustRenew || subscribe.length + unsubscribe.length > 0)
      void this.#change(subscribe, unsubscribe);
  }

  /** Tries again at once what waits to be tried again, and looks whether it still lives. */
  wake(): void {
    // Unless the server has asked for no request yet.
    const isAllowed = this.#retry.wake();
    const isDue = this.connection ? isAllowed : this.#silentMs() >= PATIENCE_MS;
    if (isDue && !this.#doubtBy) this.#probe();
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

  #take({ event, data, id }: StreamEvent, asked: readonly ChannelRequest[]): void {
    switch (event) {
      case undefined:
      case 'messaging:gap': {
        const told = readJson(data);
        if (this.#past.takes(told, id)) return undefined;
        if (!advance(this.#positions, told, id)) return undefined;
        const position = this.#positions.get(nameOf(told));
        if (event) return this.#owner.receiver.gap(position ? { ...(told as object), position } : told);
        this.#hasDelivered = true;
        return this.#owner.receiver.message(told, id, position);
      }
      case 'messaging:replay':
        return this.#past.event(JSON.parse(data) as ReplayEvent);
      case 'messaging:ready':
        return this.#becomeReady(JSON.parse(data) as ReadyEvent, asked);
      case 'messaging:position':
        // Older servers name no channels.
        for (const answer of (JSON.parse(data) as Partial<PositionEvent>).channels ?? []) {
          // The stream may have begun without any channel. Before it is ready, it sends positions of histories alone.
          this.#hasPositions ||= !!this.connection;
          if (this.#wanted.has(answer.channel)) this.#goOn(answer, answer.recovered === false);
        }
        return undefined;
      case 'messaging:withdrawn':
        for (const channel of (JSON.parse(data) as WithdrawnEvent).channels) {
          this.confirmed.delete(channel);
          // A change that is under way may have asked for it again.
          if (!this.#answerBy) this.#held.delete(channel);
          this.#refused({ channel, error: 'CHANNEL_DENIED' });
        }
        return undefined;
      case 'messaging:expiring':
        this.#mustRenew = true;
        return this.reconcile();
      case 'messaging:drain':
      case 'messaging:expired':
        return this.end({ sentBy: event.slice(10) as ReturnReason, retryMs: this.#retryMs });
      case 'messaging:end':
      case 'messaging:revoked': {
        const reason = event.slice(10) as CloseReason;
        return this.end({ reason, error: new ConnectionClosedError(`The server closed the connection: ${reason}`) });
      }
    }
  }

  #becomeReady(ready: ReadyEvent, asked: readonly ChannelRequest[]): void {
    const { connection, heartbeatMs, channels } = ready;
    if (!connection) throw new ConnectionLostError('The server did not name the stream');
    this.#settle(asked, ready);
    // A listener may have closed the client.
    if (this.#isOver) return;
    this.connection = connection;
    this.#hasPositions = (channels as readonly Answer[]).some((answer) => answer.position);
    this.#readyAt = this.#owner.clock.uptime();
    this.#limitMs = heartbeatMs * SILENT_HEARTBEATS || Infinity;
    this.#watch();
    this.#owner.receiver.status({ state: 'open' });
    this.reconcile();
  }

  async #change(subscribe: readonly ChannelRequest[], unsubscribe: readonly string[]): Promise<void> {
    for (const channel of unsubscribe) {
      this.confirmed.delete(channel);
      // A later subscription begins anew.
      this.#positions.delete(channel);
    }
    this.#answerBy = this.#owner.clock.uptime() + ANSWER_TIMEOUT_MS;
    this.#watch();
    const renew = this.#mustRenew;
    try {
      const path = `/${encodeURIComponent(this.connection!)}/channels`;
      const response = await this.#request(path, { subscribe, unsubscribe, ...(renew && { renew }) });
      const answer = (await response.json()) as ChangeAnswer;
      if (!this.#isOver) this.#settle(subscribe, answer);
      if (this.#isOver) return;
      this.#answerBy = 0;
      // If the server did not renew it, it sends `messaging:expiring` again.
      if (renew) this.#mustRenew = false;
      for (const channel of unsubscribe) this.#held.delete(channel);
      if (this.#hasFailed) this.#owner.receiver.status({ state: 'open' });
      this.#hasFailed = false;
      this.#retry.reset();
      this.reconcile();
    } catch (cause) {
      if (this.#isOver) return;
      this.#answerBy = 0;
      this.#hasFailed = true;
      this.#past.failed(subscribe);
      const error = failedBy(cause, this.#url);
      this.#owner.receiver.status({ state: 'open', error, retryAt: this.#retry.wait(error) });
    }
  }

  /** As many requests for channels as there is room for, which the server may be subscribed to from now on. */
  #ask(channels: Iterable<string>, left: Room): ChannelRequest[] {
    const requests = Array.from(channels, (channel): ChannelRequest => {
      const position = this.#owner.isPlain ? undefined : this.#positions.get(channel);
      return position ? { channel, position } : { channel };
    });
    // Behind all channels: it can be had only of one that the stream has.
    const asked = portionOf([...requests, ...this.#past.requests()], left);
    for (const { channel } of asked) this.#held.add(channel);
    this.#past.asked(asked);
    return asked;
  }

  /** Takes the answers to what was asked for: all of them, or it throws. */
  #settle(asked: readonly ChannelRequest[], { channels, replays = [] }: Answers): void {
    const answered = new Map(channels.map((answer) => [answer.channel, answer]));
    for (const { channel, listener } of asked) {
      const answer = answered.get(channel);
      if (listener && !answer?.error) {
        this.#past.settle(listener, channel, replays);
        continue;
      }
      if (!answer) throw new ConnectionLostError(`The server did not answer for channel ${quote(channel)}`);
      if (answer.error) {
        this.#held.delete(channel);
        this.#refused(answer);
      } else {
        this.confirmed.add(channel);
        // It was left meanwhile.
        if (!this.#wanted.has(channel)) continue;
        // After a change the stream says so.
        if (this.#hasPositions) this.#goOn({ channel, position: this.#positions.get(channel)! }, false);
        else this.#goOn(answer, this.#positions.has(channel) && !answer.recovered);
      }
    }
  }

  #refused(answer: ChannelAnswer): void {
    this.#wanted.delete(answer.channel);
    this.#positions.delete(answer.channel);
    this.#owner.receiver.answer(answer);
  }

  /** Goes on with a channel from where the server says. */
  #goOn({ channel, position, reason }: Answer, isLost: boolean): void {
    this.#positions.set(channel, position);
    this.#owner.receiver.answer({ channel });
    if (isLost) this.#owner.receiver.gap({ channel, reason: reason ?? 'unknown', position });
  }

  async #request(path: string, body: Parameters<Post>[1]): Promise<Response> {
    const response = await this.#owner.post(path, body, this.#abort.signal);
    if (response.status === 200 && !this.#isOver) return response;
    const failure = await failureOf(response, this.#url, this.#owner.clock);
    if (!path) this.end(failure);
    // It has ended, or belongs to another user. A change that fails for another reason is no fault of the stream.
    else if (response.status === 404)
      this.end({ error: new ConnectionLostError('The server does not know the stream') });
    throw failure.error;
  }

  /** Has the server write to the stream, and sees to it that it ends unless something comes soon. */
  #probe(): void {
    this.#doubtBy = this.#owner.clock.uptime() + PROBE_MS;
    this.reconcile(true);
    this.#watch();
  }

  /** Sees to it that it ends if nothing comes. One timer, whatever comes: it looks at the time when it goes off. */
  #watch(): void {
    this.#owner.clock.clearTimeout(this.#watchTimer);
    const now = this.#owner.clock.uptime();
    const answerMs = this.#answerBy ? this.#answerBy - now : Infinity;
    const silentMs = this.#doubtBy ? this.#doubtBy - now : this.#limitMs - this.#silentMs();
    const leftMs = Math.min(silentMs, answerMs);
    if (leftMs > 0) {
      if (leftMs < Infinity) this.#watchTimer = this.#owner.clock.setTimeout(() => this.#watch(), leftMs);
    } else if (answerMs > 0 && (!this.#doubtBy || leftMs < -LATE_MS)) {
      // A page that was busy or asleep has not read yet what has come meanwhile.
      this.#probe();
    } else {
      this.end({ error: new ConnectionLostError('The server is silent') });
    }
  }
}

/** @returns the error if it is not JSON */
function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return error;
  }
}
