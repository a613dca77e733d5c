import type { MessagingError } from '../protocol/errors.js';
import type { MessagingClientOptions } from './client-options.js';
import type { CloseReason } from './client-status.js';
import { realClock, type Clock } from './clock.js';
import type { Link, LinkReceiver, Progress } from './link.js';
import { Retry } from './retry.js';
import { serverRequests, type Post } from './server-requests.js';
import { ServerStream, type StreamEnd, type StreamOwner } from './server-stream.js';
import { onWakeUp } from './wake-up.js';

/** The link of a client that talks to the server itself: one event stream after the other. */
export class ServerLink implements Link, StreamOwner {
  readonly wanted = new Set<string>();
  readonly url: string;
  readonly post: Post;
  readonly clock: Clock;
  readonly receiver: LinkReceiver;
  readonly #retry: Retry;
  /** Of the last stream that was ready. */
  #progress: Progress | undefined;
  #stream: ServerStream | undefined;
  #isClosed = false;
  #stopWakeUps: (() => void) | undefined;

  constructor(options: MessagingClientOptions, receiver: LinkReceiver) {
    this.url = String(options.url);
    this.post = serverRequests(options);
    this.clock = options.clock ?? realClock;
    this.receiver = receiver;
    this.#retry = new Retry(this.clock, () => this.#connect());
  }

  /** How far the stream that is open, or the last one, was read. */
  get progress(): Progress | undefined {
    return this.#stream?.progress ?? this.#progress;
  }

  /** Goes on where another link has stopped. Before anything is wanted. */
  resume(progress: Progress | undefined): void {
    this.#progress = progress;
  }

  want(channel: string): void {
    this.wanted.add(channel);
    this.#flushSoon(channel);
  }

  drop(channel: string): void {
    this.wanted.delete(channel);
    // Whoever wants it again begins anew.
    this.#progress?.channels.delete(channel);
    this.#flushSoon();
  }

  close(): void {
    this.#shut('close');
  }

  /** Called by the stream. */
  ended({ error, reason, retryMs }: StreamEnd): void {
    const wasReady = this.#stream?.isReady;
    this.#progress = this.progress;
    this.#stream = undefined;
    if (this.#isClosed) return;
    if (reason && reason !== 'drain') return this.#shut(reason, error);
    if (wasReady) this.#retry.reset();
    if (this.wanted.size === 0) return this.receiver.status({ state: 'idle' });
    this.receiver.status({
      state: 'waiting',
      retryAt: this.#retry.wait(error, retryMs),
      ...(reason && { reason }),
      ...(error && { error }),
    });
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

  /** Opens a stream, unless nothing is wanted. */
  #connect(): void {
    this.#retry.stop();
    if (this.wanted.size === 0) return this.receiver.status({ state: 'idle' });
    this.#stopWakeUps ??= onWakeUp(() => this.#wake());
    const stream = (this.#stream = new ServerStream(this));
    this.receiver.status({ state: 'connecting' });
    void stream.open();
  }

  #wake(): void {
    this.#stream?.wake();
    this.#retry.wake();
  }

  #shut(reason: CloseReason, error?: MessagingError): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#retry.stop();
    this.#stopWakeUps?.();
    this.#stream?.end({});
    this.receiver.status({ state: 'closed', reason, ...(error && { error }) });
  }
}
