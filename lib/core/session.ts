import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { SessionClosedError } from '../protocol/errors.js';
import { isolate } from './isolate.js';
import { isolateListeners } from './isolated-signal.js';
import type { Listener } from './listener.js';
import type { Sessions } from './sessions.js';

/** Why a session closed: it `ended` by itself or by hand, its authentication was `revoked`, or the app shut down. */
export type SessionCloseReason = 'ended' | 'revoked' | 'shutdown';

/** How a session is opened. */
export interface SessionOptions {
  /** Who is behind it. A function is asked when the answer is first needed, and again until it is not `null`. */
  readonly auth?: AuthenticationInfo | null | (() => AuthenticationInfo | null) | undefined;
  /** Closes the session when aborted. */
  readonly signal?: AbortSignal | undefined;
}

type OnClose = (reason: SessionCloseReason) => void;

/**
 * The lifetime of one request or stream on a server. What is registered in it ends with it.
 */
export class Session implements Disposable, AsyncDisposable {
  #id: string | undefined;
  #auth: AuthenticationInfo | null = null;
  #controller: AbortController | undefined;
  #closeReason: SessionCloseReason | undefined;
  /** A set from the second one on: most sessions have one at most, and a set costs as much as all the rest of them. */
  #listeners: Listener | Set<Listener> | undefined;
  /** A list from the second one on. */
  #onClose: OnClose | OnClose[] | undefined;
  readonly #askAuth: (() => AuthenticationInfo | null) | undefined;
  readonly #sessions: Sessions;

  /** @internal */
  constructor(options: SessionOptions, sessions: Sessions) {
    this.#sessions = sessions;
    if (typeof options.auth === 'function') this.#askAuth = options.auth;
    else this.#auth = options.auth ?? null;
    if (options.signal) this.#follow(options.signal);
  }

  /** Unique and unguessable. */
  get id(): string {
    return (this.#id ??= randomUUID());
  }

  /** Who is behind the session; `null` while nobody has signed in, or if who is asked for it fails, which is reported. */
  get auth(): AuthenticationInfo | null {
    const ask = this.#askAuth;
    if (this.#auth === null && ask !== undefined) {
      this.#isolate('"auth" of a session', () => {
        this.#auth = ask() ?? null;
      });
    }
    return this.#auth;
  }

  get closed(): boolean {
    return this.#closeReason !== undefined;
  }

  /** Why it closed; `undefined` while it is open. */
  get closeReason(): SessionCloseReason | undefined {
    return this.#closeReason;
  }

  /** Aborted when the session closes. What its listeners throw, or their promises reject with, is reported. */
  get signal(): AbortSignal {
    // Made on demand: most sessions are never asked, and a controller costs more than all the rest.
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      isolateListeners(this.#controller.signal, this.#sessions.reporter, 'A listener of the signal of a session');
      if (this.closed) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  /** Ends the session: its listeners are removed, its streams complete, its signal is aborted. Idempotent. */
  close(): void {
    this.end('ended');
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Runs a function when the session closes, after those that came before it; at once where it has. What it throws is
   * reported.
   * @internal
   */
  onClose(run: OnClose): void {
    const earlier = this.#onClose;
    if (this.#closeReason !== undefined) this.#runOnClose(run, this.#closeReason);
    else if (earlier === undefined) this.#onClose = run;
    else if (typeof earlier === 'function') this.#onClose = [earlier, run];
    else earlier.push(run);
  }

  /** @internal */
  assertOpen(action: string): void {
    if (this.closed) throw new SessionClosedError(action);
  }

  /** @internal */
  own(listener: Listener): void {
    const owned = this.#listeners;
    if (owned === undefined) this.#listeners = listener;
    else if (owned instanceof Set) owned.add(listener);
    else this.#listeners = new Set([owned, listener]);
  }

  /** @internal */
  release(listener: Listener): void {
    const owned = this.#listeners;
    if (owned instanceof Set) owned.delete(listener);
    else if (owned === listener) this.#listeners = undefined;
  }

  /**
   * The open registrations of a function on a channel or template.
   * @internal
   */
  registrations(channel: string, call: unknown): Listener[] {
    return this.#owned().filter((listener) => listener.call === call && listener.channel === channel);
  }

  /**
   * Closes the session. Never throws: each of those who are told of it is isolated from the others.
   * @internal
   */
  end(reason: SessionCloseReason): void {
    if (this.closed) return;
    this.#closeReason = reason;
    this.#sessions.forget(this);
    const listeners = this.#owned();
    this.#listeners = undefined;
    for (const listener of listeners) this.#isolate('The end of a listener', () => listener.unsubscribe());
    this.#isolate('A listener of the signal of a session', () => this.#controller?.abort());
    // First those who ask for the reason, since a stream that completes would say that it came to its end.
    const onClose = this.#onClose;
    this.#onClose = undefined;
    if (typeof onClose === 'function') this.#runOnClose(onClose, reason);
    else onClose?.forEach((run) => this.#runOnClose(run, reason));
    for (const { name, onSessionClose } of listeners) {
      if (onSessionClose !== undefined) this.#isolate(`The end of ${name}`, onSessionClose);
    }
  }

  #runOnClose(run: OnClose, reason: SessionCloseReason): void {
    this.#isolate('onClose of a session', () => run(reason));
  }

  #isolate(callback: string, run: () => unknown): void {
    isolate(this.#sessions.reporter, callback, run);
  }

  #owned(): Listener[] {
    const owned = this.#listeners;
    if (owned === undefined) return [];
    return owned instanceof Set ? [...owned] : [owned];
  }

  #follow(signal: AbortSignal): void {
    // One signal may well end a thousand sessions; that is no leak to be warned of.
    setMaxListeners(0, signal);
    const close = () => this.close();
    this.onClose(() => signal.removeEventListener('abort', close));
    if (signal.aborted) close();
    else signal.addEventListener('abort', close, { once: true });
  }
}
