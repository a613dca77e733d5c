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
import type { SessionCloseReason } from './session-close-reason.js';
import type { Answer, AskAuthentication, SessionInit } from './session-init.js';
import { hasStackRoom } from './stack-room.js';
import type { TimeWheel } from './time-wheel.js';

const IN_MICROTASK = Promise.resolve();
/**
 * How long after it has registered something a session is asked who is behind it, if nobody else has: guards have run by then, and
 * most requests are over.
 */
const ASK_AFTER_MS = 1_000;

/** What keeps the open sessions of a node. */
interface SessionKeeper {
  /** Told of what fails when a session ends. */
  readonly reporter: Reporter;
  /** Has it expire. */
  readonly wheel: TimeWheel;
  readonly revocations: Pick<RevocationList, 'order'>;
  /** Called when it has become known who is behind a session; `null`: nobody, although that may change. */
  decided(session: Session, auth: AuthenticationInfo | null): void;
  /** Whether a sign-in is withdrawn; see {@link SessionInit.since}. */
  isWithdrawn(auth: AuthenticationInfo, since: number): boolean;
  /** Called by a session that has closed. */
  forget(session: Session): void;
}

/** What is registered in a session, and ends with it. */
export interface Registration {
  /** What logs call it. */
  readonly name: string;
  /** Called when the session has ended all that is registered in it. */
  readonly onSessionClose?: (() => void) | undefined;
  unsubscribe(): void;
}

type OnClose = (reason: SessionCloseReason) => void;

/**
 * The lifetime of one request or stream on a server. Everything registered in it ends with it.
 */
export class Session implements Disposable, AsyncDisposable {
  #id: string | undefined;
  /** `null`: it was waited for, and is nobody. */
  #auth: AuthenticationInfo | null | undefined;
  /** The question who is behind it, while it waits for its answer. */
  #pending: Promise<Answer> | undefined;
  /** @internal */
  readonly since: number;
  #controller: AbortController | undefined;
  #closeReason: SessionCloseReason | undefined;
  /** A set from the second one on: most sessions have one at most, and a set costs as much as all the rest of them. */
  #registrations: Registration | Set<Registration> | undefined;
  /** A list from the second one on. */
  #onClose: OnClose | OnClose[] | undefined;
  #askAuth: AskAuthentication | undefined;
  #gapReader: GapReader | undefined;
  readonly #sessions: SessionKeeper;

  /** @internal */
  constructor(options: SessionInit, sessions: SessionKeeper) {
    this.#sessions = sessions;
    this.since = options.since ?? sessions.revocations.order;
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
   * Like {@link authenticated}, for the session of one request whose guards have run; at once if nothing has to be waited for. If
   * it cannot be found out, nobody is behind the session from now on: a failure is neither repeated nor reported again.
   * @internal
   */
  settleAuthentication(): AuthenticationInfo | null | Promise<AuthenticationInfo | null> {
    const auth = this.#auth ?? this.#ask();
    return auth instanceof Promise ? this.#findOut().then((found) => this.#settle(found)) : this.#settle(auth);
  }

  /**
   * Who is behind it, as far as that is known.
   * @internal
   */
  get known(): AuthenticationInfo | null | undefined {
    return this.#auth;
  }

  /**
   * Finds out who is behind it, if that can be; as soon as it is known, it ends if their sign-in has been withdrawn.
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
    // Made on demand: most sessions are never asked, and a controller costs more than all the rest.
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
   * Runs a function when the session closes, after those that came before it; at once if it has closed. What it
   * throws is reported.
   *
   * @throws MessagingError (INVALID_LISTENER) for what is no function
   * @internal
   */
  onClose(run: OnClose): void {
    if (typeof run !== 'function') {
      throw new MessagingError('INVALID_LISTENER', `Session.onClose takes a function, not ${describe(run)}`);
    }
    const earlier = this.#onClose;
    if (this.#closeReason !== undefined) this.#runOnClose(run, this.#closeReason);
    else if (earlier === undefined) this.#onClose = run;
    else if (typeof earlier === 'function') this.#onClose = [earlier, run];
    // Not pushed or spread: an array that grows takes room for many more, and there may be 100,000 sessions.
    else this.#onClose = earlier.concat(run);
  }

  /**
   * Has a reader told of the losses of this session's streams.
   * @internal
   */
  tellGapsTo(reader: GapReader): void {
    this.#gapReader = reader;
  }

  /**
   * Tells of a loss of one of its streams.
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
    // Else nobody may ever ask who is behind it, and the clock may be ahead of the wheel.
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
   * What is registered now.
   * @internal
   */
  registrations(): Registration[] {
    const owned = this.#registrations;
    if (owned === undefined) return [];
    return owned instanceof Set ? [...owned] : [owned];
  }

  /**
   * Ends it if its sign-in has expired; finds out who is behind it if that is not known.
   * @internal
   */
  timeIsUp(): void {
    if (this.#auth) this.#expire(this.#auth);
    else if (!this.closed) this.find();
  }

  /**
   * Whether another sign-in may take the place of its own: one of the same user, which lasts longer.
   * @internal
   */
  isRenewedBy({ userId, expiresAt = Infinity }: AuthenticationInfo): boolean {
    const auth = this.#auth;
    if (this.closed || auth?.expiresAt === undefined) return false;
    return String(auth.userId) === String(userId) && expiresAt > auth.expiresAt;
  }

  /**
   * Goes on with another sign-in, if it {@link isRenewedBy} that.
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
   * Closes the session. Each of those who are told of it is isolated from the others. Near the end of the stack they are
   * told in a microtask. Throws only if not even that can be arranged any more; the session is still open then.
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
      // What breaks off in the middle would leave a session that is closed and yet goes on, and cannot be closed again.
      // A function of the engine's own, which needs no stack to be compiled on.
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
    // First those who ask for the reason, since a stream that completes would say that it came to its end.
    const onClose = this.#onClose;
    this.#onClose = undefined;
    if (typeof onClose === 'function') this.#runOnClose(onClose, reason);
    else onClose?.forEach((run) => this.#runOnClose(run, reason));
    for (const registration of registrations) {
      const { onSessionClose } = registration;
      if (onSessionClose !== undefined) this.#isolate(`The end of ${registration.name}`, onSessionClose);
    }
  }

  #runOnClose(run: OnClose, reason: SessionCloseReason): void {
    this.#isolate('onClose of a session', () => run(reason));
  }

  #isolate(callback: string, run: () => unknown): void {
    isolate(this.#sessions.reporter, callback, run);
  }

  async #findOut(): Promise<Answer> {
    // Nobody may have signed in since.
    const auth = this.#auth ?? this.#ask();
    if (!(auth instanceof Promise)) return auth;
    const answer = await auth;
    if (!answer) this.#know(null);
    return answer;
  }

  #settle(auth: Answer): AuthenticationInfo | null {
    if (auth === undefined) this.#askAuth = undefined;
    // Guards have run: a revocation need not ask again.
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
    // Already while it runs: it may revoke, read `auth` or open sessions, each of which would ask again.
    const { promise, resolve } = new Deferred<Answer>();
    this.#pending = promise;
    let answer: ReturnType<AskAuthentication>;
    try {
      this.#isolate('"auth" of a session', () => void (answer = ask()));
    } finally {
      this.#pending = undefined;
      resolve(answer);
    }
    if (answer instanceof Promise) return (this.#pending = answer.then((auth) => this.#answered(auth)));
    // Nobody may still sign in, when guards have run.
    if (answer) this.#know(answer);
    return answer;
  }

  #answered(auth: Answer): Answer {
    this.#pending = undefined;
    if (auth) this.#know(auth);
    return auth;
  }

  /** The one place where it becomes known who is behind a session. */
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
    // One signal may well end a thousand sessions; that is no leak to be warned of.
    setMaxListeners(0, signal);
    const close = () => this.close();
    this.onClose(() => signal.removeEventListener('abort', close));
    if (signal.aborted) close();
    else signal.addEventListener('abort', close, { once: true });
  }
}
