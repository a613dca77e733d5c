import type { ChannelAnswer } from '../protocol/gateway.js';
import type { MessagingClientOptions } from './client-options.js';
import type { ClientStatus } from './client-status.js';
import type { Clock } from './clock.js';
import type { LinkReceiver, Replayed } from './link.js';
import type { Positions } from './positions.js';
import { ServerLink } from './server-link.js';
import type { LeaderNote, TabNote } from './tab-note.js';

/** How long a new leader waits for the other tabs to say what they want, so that it asks for all of it at once. */
const GATHER_MS = 50;
/** How long it keeps its predecessor's subscriptions for tabs that are slow to say what they want. */
const INHERITED_MS = 2_000;

/** What the leading tab does for all of them. */
export class TabLeader implements LinkReceiver {
  readonly #link: ServerLink;
  readonly #locks: LockManager;
  readonly #name: string;
  readonly #tell: (note: LeaderNote) => void;
  /** Which tabs want a channel. */
  readonly #wanted = new Map<string, Set<string>>();
  readonly #tabs = new Set<string>();
  /** How far tabs have read what they want, as they say until this one begins. */
  readonly #claims: Positions = new Map();
  readonly #clock: Clock;
  #timer: unknown;
  readonly #left = new AbortController();
  #isGathering = true;
  #status: ClientStatus = { state: 'connecting' };

  /** @param positions - how far this tab gets with the former leader */
  constructor(
    options: MessagingClientOptions,
    locks: LockManager,
    name: string,
    positions: Positions,
    clock: Clock,
    tell: (note: LeaderNote) => void,
  ) {
    this.#link = new ServerLink(options, this);
    this.#locks = locks;
    this.#name = name;
    this.#tell = tell;
    this.#clock = clock;
    this.#timer = clock.setTimeout(() => {
      this.#isGathering = false;
      // Not before: the last that the former leader has told may have been under way.
      this.#inherit(new Map([...this.#claims, ...positions]));
      tell({ kind: 'begin', positions: this.#link.positions });
      for (const channel of this.#wanted.keys()) this.#link.want(channel);
    }, GATHER_MS);
  }

  take(note: TabNote): void {
    switch (note.kind) {
      case 'want':
        this.#greet(note.tab);
        for (const channel of note.channels) this.#want(channel, note.tab, note.positions);
        return undefined;
      case 'drop':
        return this.#drop(note.channel, note.tab);
      case 'gone':
        return this.#forget(note.tab);
      case 'replay':
        return this.#link.replay(note.listener, note.past);
      case 'retry':
        return this.#link.retryNow();
      case 'ask':
        return this.#tell({ kind: 'here' });
    }
  }

  status(status: ClientStatus): void {
    this.#status = status;
    if (!this.#left.signal.aborted) this.#tellStatus();
  }

  answer(answer: ChannelAnswer): void {
    const { channel, error } = answer;
    if (error) this.#wanted.delete(channel);
    this.#tell({ kind: 'answer', answer, position: this.#link.positions.get(channel) });
  }

  message(frame: unknown, id?: string): void {
    this.#tell({ kind: 'message', frame, id });
  }

  replayed(told: Replayed): void {
    this.#tell({ kind: 'replayed', told });
  }

  gap(gap: unknown): void {
    this.#tell({ kind: 'gap', gap });
  }

  close(): void {
    this.#left.abort();
    this.#clock.clearTimeout(this.#timer);
    this.#link.close();
  }

  /** Goes on where the former leader has stopped, also for tabs that are too busy to say what they want. */
  #inherit(positions: Positions): void {
    for (const channel of positions.keys()) this.#goOn(channel, positions);
    this.#timer = this.#clock.setTimeout(() => {
      for (const channel of positions.keys()) if (!this.#wanted.has(channel)) this.#leave(channel);
    }, INHERITED_MS);
  }

  /** @param before - how far another link has read it */
  #goOn(channel: string, before?: Positions): void {
    if (this.#link.want(channel) && before?.has(channel)) this.#link.positions.set(channel, before.get(channel));
  }

  #leave(channel: string): void {
    this.#link.drop(channel);
    this.#tell({ kind: 'left', channel });
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
    this.#tell({
      kind: 'status',
      status,
      error: error && { code: error.code, message: error.message },
      tab,
      positions: tab === undefined || this.#isGathering ? undefined : this.#link.positions,
    });
  }

  #forget(tab: string): void {
    this.#tabs.delete(tab);
    for (const channel of [...this.#wanted.keys()]) this.#drop(channel, tab);
  }

  /** @param before - how far the tab has read what it wants: it was put aside, and nobody else had it */
  #want(channel: string, tab: string, before?: Positions): void {
    const tabs = this.#wanted.get(channel);
    if (tabs) tabs.add(tab);
    else this.#wanted.set(channel, new Set([tab]));
    if (!this.#isGathering) this.#goOn(channel, before);
    else if (before?.has(channel)) this.#claims.set(channel, before.get(channel));
  }

  #drop(channel: string, tab: string): void {
    const tabs = this.#wanted.get(channel);
    if (!tabs?.delete(tab) || tabs.size > 0) return;
    this.#wanted.delete(channel);
    if (!this.#isGathering) this.#leave(channel);
  }
}
