import type { ErrorCode } from '../protocol/error-codes.js';
import { ConnectionClosedError } from '../protocol/errors.js';
import type { ChannelAnswer } from '../protocol/gateway.js';
import type { MessagingClientOptions } from './client-options.js';
import type { ClientStatus } from './client-status.js';
import { realClock } from './clock.js';
import { errorOf } from './error-of.js';
import type { Link, LinkFactory, LinkReceiver, Progress } from './link.js';
import { ServerLink } from './server-link.js';

/** Options of {@link shareAcrossTabs}. */
export interface ShareAcrossTabsOptions {
  /**
   * Tabs share a connection whose clients have this name and the same URL. What one of them may subscribe to reaches all
   * of them, so give tabs of different users different names.
   * @defaultValue ''
   */
  name?: string;
}

/**
 * One connection for all tabs of a page: one of them, the leader, talks to the server for all, and another takes over when
 * it goes. For the option `link` of a client. Where the browser cannot do that (it needs Web Locks and BroadcastChannel),
 * each tab has a connection of its own.
 *
 * @example
 * ```ts
 * import { MessagingClient, shareAcrossTabs } from 'nestjs-messaging/client';
 *
 * const client = new MessagingClient({ url: '/messages', link: shareAcrossTabs({ name: 'user 42' }) });
 * ```
 */
export function shareAcrossTabs({ name = '' }: ShareAcrossTabsOptions = {}): LinkFactory {
  return (options, receiver) => {
    const locks = (globalThis.navigator as Navigator | undefined)?.locks;
    return locks && globalThis.BroadcastChannel
      ? new SharedLink(options, receiver, `nestjs-messaging ${options.url} ${name}`, locks)
      : new ServerLink(options, receiver);
  };
}

/** How long a new leader waits for the other tabs to say what they want, so that it asks for all of it at once. */
const GATHER_MS = 50;
/** How long it keeps what the former leader had for tabs that are slow to say so. */
const INHERITED_MS = 2_000;

/** What tabs tell each other. Errors do not survive the way; their codes and texts do. */
type Note =
  /** To the leader: what a tab wants, no longer wants, or that it goes. */
  | { readonly kind: 'want' | 'drop'; readonly tab: string; readonly channels: readonly string[] }
  | { readonly kind: 'gone'; readonly tab: string }
  /** From a new leader. */
  | { readonly kind: 'lead' }
  | { readonly kind: 'answer'; readonly answer: ChannelAnswer }
  | { readonly kind: 'left'; readonly channel: string }
  | { readonly kind: 'messages'; readonly data: readonly string[]; readonly position: string | undefined }
  | { readonly kind: 'gap'; readonly data: string }
  | {
      readonly kind: 'status';
      readonly status: Omit<ClientStatus, 'error'>;
      readonly error: { readonly code: ErrorCode; readonly message: string } | undefined;
      readonly position: string | undefined;
      /** The tab that it is for; all of them where there is none. */
      readonly tab?: string;
    };

/** The link of one tab. */
class SharedLink implements Link {
  readonly #options: MessagingClientOptions;
  readonly #receiver: LinkReceiver;
  readonly #name: string;
  readonly #locks: LockManager;
  readonly #tab = crypto.randomUUID();
  readonly #wanted = new Set<string>();
  /** What the leader has got for all tabs, for the case that this one follows it. */
  readonly #channels = new Set<string>();
  #position: string | undefined;
  /** Whether the page was put aside: others may have been told more than it has. */
  #isBehind = false;
  #hasJoined = false;
  #bus: BroadcastChannel | undefined;
  #leader: Leader | undefined;
  /** Lets go of the locks. */
  #left = new AbortController();
  #isClosed = false;

  constructor(options: MessagingClientOptions, receiver: LinkReceiver, name: string, locks: LockManager) {
    this.#options = options;
    this.#receiver = receiver;
    this.#name = name;
    this.#locks = locks;
  }

  want(channel: string): void {
    this.#wanted.add(channel);
    // Not before: a program that is evaluated on a server, too, has its client made there, and subscribes to nothing.
    if (!this.#hasJoined) {
      this.#hasJoined = true;
      globalThis.addEventListener?.('pagehide', this.#pageHidden);
      globalThis.addEventListener?.('pageshow', this.#pageShown);
      this.#join();
    }
    this.#tellLeader({ kind: 'want', tab: this.#tab, channels: [channel] });
  }

  drop(channel: string): void {
    this.#wanted.delete(channel);
    this.#tellLeader({ kind: 'drop', tab: this.#tab, channels: [channel] });
  }

  close(): void {
    this.#shut({ state: 'closed', reason: 'close' });
  }

  /** A page that is put aside gives the lead away: it would stop in the middle. */
  readonly #pageHidden = (): void => this.#leave();
  readonly #pageShown = (): void => {
    if (!this.#bus && !this.#isClosed) this.#join();
  };

  #join(): void {
    this.#left = new AbortController();
    this.#bus = new BroadcastChannel(this.#name);
    this.#bus.addEventListener('message', ({ data }) => this.#take(data as Note));
    // Held as long as this tab lives, so that a leader notices when it goes without a word.
    void this.#hold(`${this.#name} ${this.#tab}`, () => this.#tellWants());
    void this.#hold(this.#name, () => this.#lead());
  }

  #leave(): void {
    if (!this.#bus) return;
    this.#leader?.close();
    this.#leader = undefined;
    this.#isBehind = true;
    this.#post({ kind: 'gone', tab: this.#tab });
    this.#bus.close();
    this.#bus = undefined;
    this.#left.abort();
  }

  /** Waits for a lock and keeps it until this tab leaves. */
  async #hold(lock: string, held: () => void): Promise<void> {
    const { signal } = this.#left;
    try {
      await this.#locks.request(lock, { signal }, () => {
        held();
        return new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      });
    } catch (error) {
      // Unless waiting for it was given up: nobody else would be told.
      if (!signal.aborted)
        this.#shut({
          state: 'closed',
          reason: 'misconfigured',
          error: new ConnectionClosedError('The tabs of this page cannot share a connection', { cause: error }),
        });
    }
  }

  #lead(): void {
    // From where it has got to itself.
    this.#isBehind = false;
    this.#leader = new Leader(
      this.#options,
      this.#locks,
      this.#name,
      () => (this.#position === undefined ? undefined : { position: this.#position, channels: this.#channels }),
      (note) => {
        this.#post(note);
        this.#take(note);
      },
    );
    this.#post({ kind: 'lead' });
    this.#tellWants();
  }

  #tellWants(): void {
    this.#tellLeader({ kind: 'want', tab: this.#tab, channels: [...this.#wanted] });
  }

  #tellLeader(note: Note): void {
    if (this.#leader) this.#leader.take(note);
    else this.#post(note);
  }

  #post(note: Note): void {
    this.#bus?.postMessage(note);
  }

  #take(note: Note): void {
    if (this.#isClosed) return;
    switch (note.kind) {
      case 'lead':
        return this.#tellWants();
      case 'answer':
        if (note.answer.error) this.#channels.delete(note.answer.channel);
        else this.#channels.add(note.answer.channel);
        if (this.#wanted.has(note.answer.channel)) this.#receiver.answer(note.answer);
        return undefined;
      case 'left':
        this.#channels.delete(note.channel);
        return undefined;
      case 'messages':
        this.#follow(note.position);
        return this.#receiver.messages(note.data);
      case 'gap':
        return this.#receiver.gap(note.data);
      case 'status':
        this.#follow(note.position);
        if (note.tab === undefined || note.tab === this.#tab) this.#changeStatus(note);
        return undefined;
      default:
        return this.#leader?.take(note);
    }
  }

  /** Takes how far the leader has got. */
  #follow(position: string | undefined): void {
    if (position === undefined) return;
    if (this.#isBehind && position !== this.#position) {
      for (const channel of this.#wanted) this.#receiver.gap(JSON.stringify({ channel, reason: 'trimmed' }));
    }
    this.#isBehind = false;
    this.#position = position;
  }

  #changeStatus({ status, error: told }: Extract<Note, { kind: 'status' }>): void {
    const error = told && { error: errorOf(told.code, told.message) };
    if (status.state === 'closed') this.#shut({ ...status, ...error });
    else this.#receiver.status({ ...status, ...error });
  }

  #shut(status: ClientStatus): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    globalThis.removeEventListener?.('pagehide', this.#pageHidden);
    globalThis.removeEventListener?.('pageshow', this.#pageShown);
    this.#leave();
    this.#receiver.status(status);
  }
}

/** What the leading tab does for all of them. */
class Leader implements LinkReceiver {
  readonly #link: ServerLink;
  readonly #locks: LockManager;
  readonly #name: string;
  readonly #tell: (note: Note) => void;
  /** Which tabs want a channel. */
  readonly #wanted = new Map<string, Set<string>>();
  readonly #tabs = new Set<string>();
  readonly #clock: MessagingClientOptions['clock'] & object;
  #timer: unknown;
  readonly #left = new AbortController();
  #isGathering = true;
  #status: ClientStatus = { state: 'connecting' };

  /** @param progress - what the leader before this one has got, where there was one */
  constructor(
    options: MessagingClientOptions,
    locks: LockManager,
    name: string,
    progress: () => Progress | undefined,
    tell: (note: Note) => void,
  ) {
    this.#link = new ServerLink(options, this);
    this.#locks = locks;
    this.#name = name;
    this.#tell = tell;
    this.#clock = options.clock ?? realClock;
    this.#timer = this.#clock.setTimeout(() => {
      this.#isGathering = false;
      // Not before: the last that the former leader has told may have been under way.
      this.#inherit(progress());
      for (const channel of this.#wanted.keys()) this.#link.want(channel);
    }, GATHER_MS);
  }

  take(note: Note): void {
    if (note.kind === 'want') {
      this.#greet(note.tab);
      for (const channel of note.channels) this.#want(channel, note.tab);
    } else if (note.kind === 'drop') {
      for (const channel of note.channels) this.#drop(channel, note.tab);
    } else if (note.kind === 'gone') {
      this.#forget(note.tab);
    }
  }

  status(status: ClientStatus): void {
    this.#status = status;
    if (!this.#left.signal.aborted) this.#tellStatus();
  }

  answer(answer: ChannelAnswer): void {
    if (answer.error) this.#wanted.delete(answer.channel);
    this.#tell({ kind: 'answer', answer });
  }

  messages(data: readonly string[]): void {
    // In one note: a tab that has got some of what was missed could not say how far it has come.
    this.#tell({ kind: 'messages', data, position: this.#link.progress?.position });
  }

  gap(data: string): void {
    this.#tell({ kind: 'gap', data });
  }

  /** Goes on where the former leader has stopped, also for tabs that are too busy to say what they want. */
  #inherit(progress: Progress | undefined): void {
    if (!progress) return;
    this.#link.resume(progress);
    const inherited = [...progress.channels];
    for (const channel of inherited) this.#link.want(channel);
    this.#timer = this.#clock.setTimeout(() => {
      for (const channel of inherited) if (!this.#wanted.has(channel)) this.#leave(channel);
    }, INHERITED_MS);
  }

  #leave(channel: string): void {
    this.#link.drop(channel);
    this.#tell({ kind: 'left', channel });
  }

  close(): void {
    this.#left.abort();
    this.#clock.clearTimeout(this.#timer);
    this.#link.close();
  }

  /** Notices when a tab goes without a word: its lock becomes free. */
  #greet(tab: string): void {
    if (this.#tabs.has(tab)) return;
    this.#tabs.add(tab);
    this.#tellStatus(tab);
    this.#locks
      .request(`${this.#name} ${tab}`, { signal: this.#left.signal }, () => this.#forget(tab))
      // Waiting for it was given up, with the lead.
      .catch(() => {});
  }

  #tellStatus(tab?: string): void {
    const { error, ...status } = this.#status;
    const position = this.#link.progress?.position;
    const text = error && { code: error.code, message: error.message };
    this.#tell({ kind: 'status', status, error: text, position, ...(tab !== undefined && { tab }) });
  }

  #forget(tab: string): void {
    this.#tabs.delete(tab);
    for (const channel of [...this.#wanted.keys()]) this.#drop(channel, tab);
  }

  #want(channel: string, tab: string): void {
    const tabs = this.#wanted.get(channel);
    if (tabs) tabs.add(tab);
    else this.#wanted.set(channel, new Set([tab]));
    if (!this.#isGathering) this.#link.want(channel);
  }

  #drop(channel: string, tab: string): void {
    const tabs = this.#wanted.get(channel);
    if (!tabs?.delete(tab) || tabs.size > 0) return;
    this.#wanted.delete(channel);
    if (!this.#isGathering) this.#leave(channel);
  }
}
