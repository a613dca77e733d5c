import { ConnectionClosedError, ConnectionLostError, type MessagingError } from '../protocol/errors.js';
import type { MessagingClientOptions } from './client-options.js';
import type { CloseReason } from './client-status.js';
import { CLOCK, realClock, type Clock } from './clock.js';
import type { Link, LinkReceiver, Past } from './link.js';
import type { Positions } from './positions.js';
import { Retry } from './retry.js';
import { serverRequests, type Post } from './server-requests.js';
import { ServerStream, type StreamEnd, type StreamOwner } from './server-stream.js';
import { IDLE_MS } from './times.js';
import { onWakeUp } from './wake-up.js';

/** The link of a client that talks to the server itself: one event stream after the other. */
export class ServerLink implements Link, StreamOwner {
  readonly wanted = new Set<string>();
  readonly positions: Positions = new Map();
  readonly replays = new Map<string, Past>();
  isPlain = false;
  from: string | undefined;
  heardAt = 0;
  readonly url: string;
  readonly post: Post;
  readonly clock: Clock;
  readonly receiver: LinkReceiver;
  readonly #retry: Retry;
  #stream: ServerStream | undefined;
  /** The last stream that was asked to hurry: if the attempt to open it fails, the next one comes soon. */
  #hurried: ServerStream | undefined;
  #isClosed = false;
  /** Whether there is a gateway that understands this client: a stream was ready. */
  #isKnown = false;
  /** Since a stream was ready. */
  #refusals = 0;
  #stopWakeUps: (() => void) | undefined;

  /** @param waitMs - how long the first attempt waits, if at all */
  constructor(options: MessagingClientOptions, receiver: LinkReceiver, waitMs?: number) {
    this.url = String(options.url);
    this.post = serverRequests(options);
    this.clock = options[CLOCK] ?? realClock;
    this.receiver = receiver;
    this.#retry = new Retry(this.clock, () => this.#connect());
    if (waitMs) this.#retry.wait(undefined, waitMs);
  }

  /** @returns whether it starts with new messages; another place may be set in `positions` until the end of the turn */
  want(channel: string): boolean {
    // A later subscription starts over, unless the stream still has the channel.
    const isNew = !this.wanted.has(channel) && !this.#stream?.confirmed.has(channel);
    if (isNew) this.positions.delete(channel);
    this.wanted.add(channel);
    this.#flushSoon(channel);
    return isNew;
  }

  drop(channel: string): void {
    this.wanted.delete(channel);
    this.#flushSoon();
    if (this.wanted.size === 0 && this.#stream) this.#retry.wait(undefined, IDLE_MS);
  }

  replay(listener: string, past?: Past): void {
    if (!past) return void this.replays.delete(listener);
    this.replays.set(listener, past);
    this.#flushSoon();
  }

  retryNow(): void {
    this.#hurried = this.#stream;
    this.#stream?.wake();
    this.#retry.wake();
  }

  close(): void {
    this.#shut('close');
  }

  /** Called by the stream. */
  ended({ error, reason, sentBy, status, retryMs }: StreamEnd): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (this.#isClosed) return;
    if (stream?.connection) {
      this.from = stream.connection;
      this.#isKnown = true;
      this.#refusals = 0;
    }
    // It may be positions that this server does not understand.
    this.isPlain = status === 400 && !this.isPlain && this.positions.size > 0;
    // Some server on the way, or one that starts, may answer so for a while. And `headers` may renew a sign-in, once.
    const mayPass = reason === 'misconfigured' ? this.#isKnown : status! > 400 && ++this.#refusals < 2;
    if (reason && !this.isPlain && !mayPass) return this.#shut(reason, error);
    if (stream?.isSuccess) this.#retry.reset();
    this.#retry.noteAsked(error);
    if (this.wanted.size === 0) return this.#connect();
    this.receiver.status({
      state: 'waiting',
      retryAt: this.#retry.wait(error, retryMs),
      reason: sentBy,
      error,
    });
    if (stream === this.#hurried && !stream!.connection) this.#retry.wake();
  }

  /** Later, so that what is wanted together goes in one request. */
  #flushSoon(asked?: string): void {
    queueMicrotask(() => {
      if (this.#isClosed) return;
      // Any other is answered when the server has answered.
      if (asked !== undefined && this.#stream?.confirmed.has(asked)) this.receiver.answer({ channel: asked });
      if (this.#stream) this.#stream.reconcile();
      else if (!this.#retry.isWaiting || this.wanted.size === 0) this.#connect();
    });
  }

  /** Opens a stream, or closes it if nothing is wanted. */
  #connect(): void {
    this.#retry.stop();
    if (this.wanted.size === 0) {
      if (this.#stream) this.#stream.end({});
      else this.receiver.status({ state: 'idle' });
    } else if (!this.#stream && this.#retry.askedMs()) {
      // The server asked for this wait before the client wanted anything again.
      this.receiver.status({ state: 'waiting', retryAt: this.#retry.wait(undefined, this.#retry.askedMs()) });
    } else if (!this.#stream) {
      this.#stopWakeUps ??= onWakeUp(() => this.retryNow());
      const stream = (this.#stream = new ServerStream(this));
      this.receiver.status({ state: 'connecting' });
      void stream.open();
    }
  }

  #shut(reason: CloseReason, error?: MessagingError): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#retry.stop();
    this.#stopWakeUps?.();
    this.#stream?.end({});
    // What made the client give up is not to be tried again.
    const hint = reason === 'misconfigured' ? '; is the option "url" right?' : '';
    const final = error instanceof ConnectionLostError ? new ConnectionClosedError(error.message + hint) : error;
    this.receiver.status({ state: 'closed', reason, error: final });
  }
}
