import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { describe } from '../protocol/channel-name.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { ConfigurationError, MessagingError, SessionClosedError } from '../protocol/errors.js';
import { Deferred } from './deferred.js';
import type { Gap } from './gap.js';
import type { Following, GapReader } from './gap-reader.js';
import { isolate } from './isolate.js';
import { isolateListeners } from './isolated-signal.js';
import type { Reporter } from './reporter.js';
import type { RevocationList } from './revocation-list.js';
import type { SessionCloseReason, SessionObserver } from './session-close-reason.js';
import type { Answer, AskAuthentication, SessionInit } from './session-init.js';
import { hasStackRoom } from './stack-room.js';
import type { TimeWheel } from './time-wheel.js';

const IN_MICROTASK = Promise.resolve();
/**
 * How long after its first registration a session looks up its user, if nothing else has: guards have run by then, and most requests
 * are over.
 */
const ASK_AFTER_MS = 1_000;

/** The owner of the open sessions of a node. */
interface SessionKeeper {
  /** Receives failures when a session ends. */
  readonly reporter: Reporter;
  /** Makes the session expire. */
  readonly wheel: TimeWheel;
  readonly revocations: Pick<RevocationList, 'order'>;
  /** Called when the user of a session is known; `null`: nobody, although that may change. */
  decided(session: Session, auth: AuthenticationInfo | null): void;
  /** Whether a sign-in is revoked; see {@link SessionInit.since}. */
  isWithdrawn(auth: AuthenticationInfo, since: number): boolean;
  /** Called by a session that has closed. */
  forget(session: Session): void;
}

/** Something registered in a session, which ends with it. */
export interface Registration {
  /** Its name in logs. */
  readonly name: string;
  /** Called when the session has ended all its registrations. */
  readonly onSessionClose?: (() => void) | undefined;
  unsubscribe(): void;
}

type OnClose = ((reason: SessionCloseReason) => void) | SessionObserver;

/**
 * The lifetime of one request or stream on a server. Everything registered in it ends with it.
 */
export class Session implements Disposable, AsyncDisposable {
  #id: string | undefined;
  /** `null`: the lookup has finished and there is no user. */
  #auth: AuthenticationInfo | null | undefined;
  /** The running lookup of the user. */
  #pending: Promise<Answer> | undefined;
  /** @internal */
  readonly since: number;
  #controller: AbortController | undefined;
  #closeReason: SessionCloseReason | undefined;
  /** A single value up to the second registration: most sessions have at most one, and a set costs as much as the rest of the session. */
  #registrations: Registration | Set<Registration> | undefined;
  /** A single value up to the second one. */
  #onClose: OnClose | OnClose[] | undefined;
  #askAuth: AskAuthentication | undefined;
  readonly #request: unknown;
  #gapReader: GapReader | undefined;
  readonly #sessions: SessionKeeper;

  /** @internal */
  constructor(options: SessionInit, sessions: SessionKeeper) {
    this.#sessions = sessions;
    this.since = options.since ?? sessions.revocations.order;
    this.#request = options.request;
    if (typeof options.auth === 'function') this.#askAuth = options.auth;
    if (options.signal) this.#follow(options.signal);
    if (typeof options.auth !== 'function') this.#know(options.auth ?? null);
  }

  /** Unique and unguessable. */
  get id(): string {
    return (this.#id ??= randomUUID());
  }

  /**
   * The user of the session; `null` while nobody has signed in. If the option `authenticate` is asynchronous, `auth` is
   * known in handlers of `@Sse()`, in handlers that take the session from `@Messages()`, and in authorizers of the
   * gateway. Everywhere else, await {@link authenticated} first.
   *
   * @throws ConfigurationError while it is not known yet
   */
  get auth(): AuthenticationInfo | null {
    const auth = this.#whoIsKnown();
    if (!(auth instanceof Promise)) return auth ?? null;
    throw new ConfigurationError(
      'session.auth is not known yet, because the option "authenticate" is asynchronous, or because "authenticate" itself reads it: ' +
        'take the session from @Messages(), or await session.authenticated() first',
    );
  }

  /** Resolves with the user of the session once that is known; `null`: nobody. Never rejects. */
  async authenticated(): Promise<AuthenticationInfo | null> {
    return (await this.#findOut()) ?? null;
  }

  /**
   * Like {@link authenticated}, for the session of one request whose guards have run; synchronous if possible. If the lookup fails, the
   * session has no user from now on, so that the failure is neither repeated nor reported again.
   * @internal
   */
  settleAuthentication(): AuthenticationInfo | null | Promise<AuthenticationInfo | null> {
    const auth = this.#auth ?? this.#ask();
    return auth instanceof Promise ? this.#findOut().then((found) => this.#settle(found)) : this.#settle(auth);
  }

  /**
   * The user, if it is already known.
   * @internal
   */
  get known(): AuthenticationInfo | null | undefined {
    return this.#auth;
  }

  /**
   * Looks up the user, if possible. If that sign-in has been revoked, the session ends as soon as the user is known.
   * @internal
   */
  find(): void {
    void this.#whoIsKnown();
  }

  /** Whether it has closed. */
  get closed(): boolean {
    return this.#closeReason !== undefined;
  }

  /** Why it closed; `undefined` while it is open. */
  get closeReason(): SessionCloseReason | undefined {
    return this.#closeReason;
  }

  /** Aborts when the session closes. Errors and rejections of its listeners are reported. */
  get signal(): AbortSignal {
    // Made on demand: most sessions never need it, and a controller costs more than the rest of the session.
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      isolateListeners(this.#controller.signal, this.#sessions.reporter, 'A listener of the signal of a session');
      if (this.closed) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  /** Ends the session: its listeners are removed, its streams complete, its signal aborts. Idempotent. */
  close(): void {
    this.end('ended');
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** As {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Runs a function or tells an observer when the session closes, after earlier ones; at once if it has closed. Errors are reported.
   *
   * @throws MessagingError (INVALID_LISTENER) if the value is neither
   * @internal
   */
  onClose(run: OnClose): void {
    if (typeof run !== 'function' && typeof (run as SessionObserver | null)?.sessionClosed !== 'function') {
      throw new MessagingError('INVALID_LISTENER', `Session.onClose takes a function, not ${describe(run)}`);
    }
    const earlier = this.#onClose;
    if (this.#closeReason !== undefined) this.#runOnClose(run, this.#closeReason);
    else if (earlier === undefined) this.#onClose = run;
    else if (!Array.isArray(earlier)) this.#onClose = [earlier, run];
    // Not pushed or spread: a growing array reserves room for many more, and there may be 100,000 sessions.
    else this.#onClose = earlier.concat(run);
  }

  /**
   * Makes a reader learn of losses in this session's streams.
   * @internal
   */
  tellGapsTo(reader: GapReader): void {
    this.#gapReader = reader;
  }

  /**
   * Reports a loss in one of its streams.
   * @internal
   */
  gap(gap: Gap): void {
    this.#gapReader?.gap(gap);
  }

  /**
   * See {@link GapReader.follow}.
   * @internal
   */
  follow(channel: string): Following | undefined {
    return this.#gapReader?.follow?.(channel);
  }

  /** @internal */
  assertOpen(action: string): void {
    // Otherwise nothing might ever look up the user, and the clock may be ahead of the wheel.
    this.timeIsUp();
    if (this.closed) throw new SessionClosedError(action, this.#closeReason);
  }

  /** @internal */
  own(registration: Registration): void {
    const owned = this.#registrations;
    if (owned === undefined) this.#registrations = registration;
    else if (owned instanceof Set) owned.add(registration);
    else this.#registrations = new Set([owned, registration]);
    if (this.#askAuth !== undefined && this.#auth === undefined)
      this.#sessions.wheel.add(Date.now() + ASK_AFTER_MS, this);
  }

  /** @internal */
  release(registration: Registration): void {
    const owned = this.#registrations;
    if (owned instanceof Set) owned.delete(registration);
    else if (owned === registration) this.#registrations = undefined;
  }

  /**
   * The current registrations.
   * @internal
   */
  registrations(): Registration[] {
    const owned = this.#registrations;
    if (owned === undefined) return [];
    return owned instanceof Set ? [...owned] : [owned];
  }

  /**
   * Ends it if its sign-in has expired; looks up the user if that is not known.
   * @internal
   */
  timeIsUp(): void {
    if (this.#auth) this.#expire(this.#auth);
    else if (!this.closed) this.find();
  }

  /**
   * Whether another sign-in may replace its own: it must be of the same user and last longer.
   * @internal
   */
  isRenewedBy({ userId, expiresAt = Infinity }: AuthenticationInfo): boolean {
    const auth = this.#auth;
    if (this.closed || auth?.expiresAt === undefined) return false;
    return String(auth.userId) === String(userId) && expiresAt > auth.expiresAt;
  }

  /**
   * Continues with another sign-in, if that {@link isRenewedBy | renews} its own.
   *
   * @returns whether it does
   * @internal
   */
  renew(auth: AuthenticationInfo): boolean {
    if (!this.isRenewedBy(auth)) return false;
    this.#sessions.wheel.remove(this.#auth!.expiresAt!, this);
    this.#know(auth, this.#sessions.revocations.order);
    return !this.closed;
  }

  /**
   * Closes the session. Everything that learns of the end is isolated from the others. Near the end of the stack they learn of it in a
   * microtask. Throws only if even that is impossible; the session is then still open.
   * @internal
   */
  end(reason: SessionCloseReason): void {
    if (this.closed) return;
    const expiresAt = this.#auth?.expiresAt;
    if (expiresAt !== undefined) this.#sessions.wheel.remove(expiresAt, this);
    if (!this.#hasEnds()) {
      this.#sessions.forget(this);
      this.#closeReason = reason;
    } else if (hasStackRoom()) {
      this.#closeReason = reason;
      this.#tellOfEnd(reason);
    } else {
      // A stack overflow in the middle would leave a closed session that continues and cannot be closed again. This is a function of the
      // engine itself, which needs no stack for compilation.
      void IN_MICROTASK.then(() => this.#tellOfEnd(reason));
      this.#closeReason = reason;
    }
  }

  #hasEnds(): boolean {
    return this.#registrations !== undefined || this.#onClose !== undefined || this.#controller !== undefined;
  }

  #tellOfEnd(reason: SessionCloseReason): void {
    this.#sessions.forget(this);
    const registrations = this.registrations();
    this.#registrations = undefined;
    for (const registration of registrations) this.#isolate('The end of a listener', () => registration.unsubscribe());
    this.#isolate('A listener of the signal of a session', () => this.#controller?.abort());
    // Functions that ask for the reason come first, since a completing stream would report a normal end.
    const onClose = this.#onClose;
    this.#onClose = undefined;
    for (const run of [onClose ?? []].flat()) this.#runOnClose(run, reason);
    for (const registration of registrations) {
      const { onSessionClose } = registration;
      if (onSessionClose !== undefined) this.#isolate(`The end of ${registration.name}`, onSessionClose);
    }
  }

  #runOnClose(run: OnClose, reason: SessionCloseReason): void {
    this.#isolate('onClose of a session', () => (typeof run === 'function' ? run(reason) : run.sessionClosed(reason)));
  }

  #isolate(callback: string, run: () => unknown): void {
    isolate(this.#sessions.reporter, callback, run);
  }

  async #findOut(): Promise<Answer> {
    // The user may have signed in since.
    const auth = this.#auth ?? this.#ask();
    if (!(auth instanceof Promise)) return auth;
    const answer = await auth;
    if (!answer) this.#know(null);
    return answer;
  }

  #settle(auth: Answer): AuthenticationInfo | null {
    if (auth === undefined) this.#askAuth = undefined;
    // Guards have run: a revocation need not look up the user again.
    if (!auth) this.#sessions.decided(this, null);
    return auth ?? null;
  }

  #whoIsKnown(): ReturnType<AskAuthentication> {
    if (this.#pending !== undefined) return this.#pending;
    return this.#auth === undefined ? this.#ask() : this.#auth;
  }

  #ask(): ReturnType<AskAuthentication> {
    if (this.#pending !== undefined) return this.#pending;
    const ask = this.#askAuth;
    if (ask === undefined) return null;
    // Set before the lookup runs: it may revoke, read `auth` or open sessions, each of which would start another lookup.
    const { promise, resolve } = new Deferred<Answer>();
    this.#pending = promise;
    let answer: ReturnType<AskAuthentication>;
    try {
      this.#isolate('"auth" of a session', () => void (answer = ask(this.#request)));
    } finally {
      this.#pending = undefined;
      resolve(answer);
    }
    if (answer instanceof Promise) return (this.#pending = answer.then((auth) => this.#answered(auth)));
    // A session without a user may still get one, once guards have run.
    if (answer) this.#know(answer);
    return answer;
  }

  #answered(auth: Answer): Answer {
    this.#pending = undefined;
    if (auth) this.#know(auth);
    return auth;
  }

  /** The only place that sets the user of a session. */
  #know(auth: AuthenticationInfo | null, since = this.since): void {
    this.#auth = auth;
    this.#sessions.decided(this, auth);
    if (auth === null || this.closed) return;
    if (this.#sessions.isWithdrawn(auth, since)) this.end('revoked');
    else this.#expire(auth);
  }

  #expire({ expiresAt }: AuthenticationInfo): void {
    if (expiresAt === undefined || this.closed) return;
    if (expiresAt <= Date.now()) this.end('expired');
    else this.#sessions.wheel.add(expiresAt, this);
  }

  #follow(signal: AbortSignal): void {
    // One signal may end a thousand sessions, which is no leak.
    setMaxListeners(0, signal);
    const close = () => this.close();
    this.onClose(() => signal.removeEventListener('abort', close));
    if (signal.aborted) close();
    else signal.addEventListener('abort', close, { once: true });
  }
}
