import { checkOptions, text } from '../protocol/check-options.js';
import type { Position } from '../protocol/position.js';
import type { LinkFactory, MessagingClientOptions } from './client-options.js';
import type { ClientStatus } from './client-status.js';
import { CLOCK, realClock, type Clock } from './clock.js';
import { errorOf } from './error-of.js';
import type { Link, LinkReceiver, Past } from './link.js';
import { advance, isUpTo, nameOf, type Positions } from './positions.js';
import { ServerLink } from './server-link.js';
import { TabLeader } from './tab-leader.js';
import type { LeaderNote, Note, TabNote } from './tab-note.js';
import { onWakeUp } from './wake-up.js';

/** Options of {@link shareAcrossTabs}. */
export interface ShareAcrossTabsOptions {
  /**
   * Tabs share a connection whose clients have this name and the same URL. What one of them may subscribe to reaches all
   * of them, so give tabs of different users different names.
   * @defaultValue ''
   */
  name?: string | undefined;
}

/**
 * One connection for all tabs of a page: one of them, the leader, talks to the server for all, and another takes over when
 * it goes. For the option `link` of a client. Where the browser cannot do that (it needs Web Locks and BroadcastChannel),
 * each tab has a connection of its own.
 *
 * @throws ConfigurationError for a wrong option
 * @example
 * ```ts
 * import { MessagingClient, shareAcrossTabs } from 'nestjs-messaging/client';
 *
 * const client = new MessagingClient({ url: '/messages', link: shareAcrossTabs({ name: 'user 42' }) });
 * ```
 */
export function shareAcrossTabs(options: ShareAcrossTabsOptions = {}): LinkFactory {
  checkOptions(options, 'shareAcrossTabs', { name: text });
  return (client, receiver, waitMs) => {
    const locks = (globalThis.navigator as Navigator | undefined)?.locks;
    return locks && globalThis.BroadcastChannel
      ? new SharedLink(client, receiver, `nestjs-messaging ${client.url} ${options.name ?? ''}`, locks)
      : new ServerLink(client, receiver, waitMs);
  };
}

/** How often a tab checks that it has heard from the leader. */
const LISTEN_MS = 2_000;
/** After so many checks without a word, the leader counts as frozen, or stopped by a dialogue. */
const MAX_UNHEARD = 4;

/** The link of one tab. */
class SharedLink implements Link {
  readonly #options: MessagingClientOptions;
  readonly #receiver: LinkReceiver;
  readonly #name: string;
  readonly #locks: LockManager;
  readonly #clock: Clock;
  readonly #tab = crypto.randomUUID();
  readonly #wanted = new Set<string>();
  /** How far all channels of all tabs are read, in case this one has to lead. */
  readonly #positions: Positions = new Map();
  /** What listeners of this tab want of the past. */
  readonly #replays = new Map<string, Past>();
  /** Whether the page was put aside: others may have been told more than it has. */
  #isBehind = false;
  #bus: BroadcastChannel | undefined;
  /** Whether the lock is held by which the leader sees that this tab lives. Who says before what it wants may count as gone. */
  #isPresent = false;
  #leader: TabLeader | undefined;
  /** Which tab leads. The one before may not know yet that it no longer does. */
  #leading: string | undefined;
  /** How many checks in a row found that nothing was heard from it. */
  #unheard = 0;
  #timer: unknown;
  /** Lets go of the locks. */
  #left = new AbortController();
  #isClosed = false;
  #stopWakeUps: (() => void) | undefined;

  constructor(options: MessagingClientOptions, receiver: LinkReceiver, name: string, locks: LockManager) {
    this.#options = options;
    this.#receiver = receiver;
    this.#name = name;
    this.#locks = locks;
    this.#clock = options[CLOCK] ?? realClock;
  }

  want(channel: string): void {
    this.#wanted.add(channel);
    // Not before: a program that is evaluated on a server, too, has its client made there, and subscribes to nothing.
    if (!this.#stopWakeUps) {
      this.#stopWakeUps = onWakeUp(() => this.retryNow());
      globalThis.addEventListener?.('pagehide', this.#pageHidden);
      globalThis.addEventListener?.('pageshow', this.#pageShown);
      this.#join();
    }
    this.#tellWant([channel]);
  }

  drop(channel: string): void {
    this.#wanted.delete(channel);
    this.#tellLeader({ kind: 'drop', tab: this.#tab, channel });
  }

  replay(listener: string, past?: Past): void {
    if (past) this.#replays.set(listener, past);
    else this.#replays.delete(listener);
    this.#tellLeader({ kind: 'replay', listener, past });
  }

  retryNow(): void {
    this.#tellLeader({ kind: 'retry' });
  }

  close(): void {
    this.#shut({ state: 'closed', reason: 'close' });
  }

  /** A page that is put aside gives the lead away: it would stop in the middle. */
  readonly #pageHidden = (): void => this.#leave();
  readonly #pageShown = (): void => {
    if (!this.#bus && !this.#leader && !this.#isClosed) this.#join();
  };

  #join(): void {
    const { signal } = (this.#left = new AbortController());
    try {
      this.#bus = new BroadcastChannel(this.#name);
      this.#bus.addEventListener('message', ({ data }) => this.#take(data as Note));
    } catch {
      return this.#leadAlone();
    }
    // Held as long as this tab lives, so that a leader notices when it goes without a word.
    const present = (): void => {
      this.#isPresent = true;
      this.#tellWants();
    };
    this.#hold(`${this.#name} ${this.#tab}`, present, { signal });
    this.#hold(this.#name, () => this.#lead(), { signal });
    this.#unheard = 0;
    this.#listen();
  }

  #leave(): void {
    if (!this.#bus) return;
    this.#leader?.close();
    this.#leader = undefined;
    this.#leading = undefined;
    this.#isBehind = true;
    this.#isPresent = false;
    this.#post({ kind: 'gone', tab: this.#tab });
    this.#bus.close();
    this.#bus = undefined;
    this.#clock.clearTimeout(this.#timer);
    this.#left.abort();
  }

  /** Waits for a lock and keeps it until this tab leaves. */
  #hold(lock: string, held: () => void, options: LockOptions): void {
    const { signal } = this.#left;
    const keep = (): unknown => {
      // A claim that steals cannot be withdrawn.
      if (signal.aborted) return undefined;
      // First, since a listener of the application may end it all while the lock is taken.
      const left = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      held();
      return left;
    };
    this.#locks.request(lock, options, keep).catch((error: unknown) => {
      if (signal.aborted) return;
      if ((error as Error).name !== 'AbortError') return this.#leadAlone();
      // Another tab leads now, since this one did not answer.
      this.#leave();
      this.#join();
    });
  }

  /** In a sandboxed frame, or one of another site, tabs cannot share. */
  #leadAlone(): void {
    this.#bus?.close();
    this.#bus = undefined;
    this.#clock.clearTimeout(this.#timer);
    if (!this.#leader) this.#lead();
  }

  /** Takes the lead if the leading tab no longer answers. */
  #listen(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#listen();
      if (this.#leader) return;
      if (++this.#unheard < MAX_UNHEARD) return this.#post({ kind: 'ask' });
      this.#unheard = 0;
      this.#hold(this.#name, () => this.#lead(), { steal: true });
    }, LISTEN_MS);
  }

  #lead(): void {
    // From where it has got to itself.
    this.#isBehind = false;
    const tell = (told: LeaderNote): void => {
      const note = { ...told, from: this.#tab };
      this.#post(note);
      this.#take(note);
    };
    this.#leader = new TabLeader(this.#options, this.#locks, this.#name, this.#positions, this.#clock, tell);
    tell({ kind: 'lead' });
  }

  #tellWants(): void {
    this.#tellWant([...this.#wanted], this.#positions);
    for (const [listener, past] of this.#replays) this.#tellLeader({ kind: 'replay', listener, past });
  }

  #tellWant(channels: readonly string[], positions?: Positions): void {
    if (this.#isPresent || this.#leader) this.#tellLeader({ kind: 'want', tab: this.#tab, channels, positions });
  }

  #tellLeader(note: TabNote): void {
    if (this.#leader) this.#leader.take(note);
    else this.#post(note);
  }

  #post(note: Note): void {
    this.#bus?.postMessage(note);
  }

  #take(note: Note): void {
    if (this.#isClosed) return undefined;
    if (!('from' in note)) return this.#leader?.take(note);
    if (note.kind === 'begin') this.#leading = note.from;
    this.#leading ??= note.from;
    if (note.kind === 'lead' || note.from === this.#leading) this.#follow(note);
  }

  #follow(note: LeaderNote): void {
    this.#unheard = 0;
    switch (note.kind) {
      case 'lead':
        return this.#tellWants();
      case 'begin':
        return this.#catchUp(note.positions);
      case 'answer': {
        const { channel, error } = note.answer;
        if (error) this.#positions.delete(channel);
        else if (!this.#mayLack(channel)) this.#positions.set(channel, note.position);
        if (this.#wanted.has(channel)) this.#receiver.answer(note.answer);
        return undefined;
      }
      case 'here':
        return undefined;
      case 'left':
        this.#positions.delete(note.channel);
        return undefined;
      case 'message':
        // Told with what was missed before it, by the next that says how far the leader has got.
        if (!this.#mayLack(nameOf(note.frame)) && advance(this.#positions, note.frame, note.id)) {
          this.#receiver.message(note.frame, note.id, this.#positions.get(nameOf(note.frame)));
        }
        return undefined;
      case 'replayed': {
        const { listener, position } = note.told;
        const past = this.#replays.get(listener);
        // A leader that has just begun may have asked for more than was missing.
        if (!past || (note.told.frame && isUpTo(position, past.start))) return undefined;
        if (position) past.start = position;
        return this.#receiver.replayed(note.told);
      }
      case 'gap': {
        const name = nameOf(note.gap);
        const { position } = note.gap as { readonly position?: Position };
        if (position && this.#positions.has(name)) this.#positions.set(name, position);
        return this.#receiver.gap(note.gap);
      }
      case 'status':
        if ((note.tab ?? this.#tab) !== this.#tab) return undefined;
        if (note.positions) this.#catchUp(note.positions);
        return this.#changeStatus(note);
    }
  }

  /** Whether messages from before the next ones may be missing. */
  #mayLack(channel: string): boolean {
    return this.#isBehind && this.#positions.has(channel);
  }

  /** Takes how far the leader has got, of channels that this tab has not followed. */
  #catchUp(positions: Positions): void {
    for (const [channel, position] of positions) {
      const isKnown = this.#positions.has(channel);
      if (isKnown && !this.#isBehind) continue;
      const isMissing = isKnown && JSON.stringify(this.#positions.get(channel)) !== JSON.stringify(position);
      this.#positions.set(channel, position);
      if (isMissing && this.#wanted.has(channel)) this.#receiver.gap({ channel, reason: 'trimmed', position });
    }
    this.#isBehind = false;
  }

  #changeStatus({ status, error: told }: Extract<LeaderNote, { kind: 'status' }>): void {
    const error = told && { error: errorOf(told.code, told.message) };
    if (status.state === 'closed') this.#shut({ ...status, ...error });
    else this.#receiver.status({ ...status, ...error });
  }

  #shut(status: ClientStatus): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    globalThis.removeEventListener?.('pagehide', this.#pageHidden);
    globalThis.removeEventListener?.('pageshow', this.#pageShown);
    this.#stopWakeUps?.();
    this.#leave();
    this.#leader?.close();
    this.#receiver.status(status);
  }
}
