import { isOfTemplate } from '../protocol/channel-name.js';
import type { Position } from '../protocol/position.js';
import type { HeardChannels } from './heard-channels.js';
import type { HistoryChanges, HistoryMoment, HistoryStore, HistoryTime } from './history-store.js';
import type { Told } from './told-losses.js';

/** How much earlier the store may have taken a moment than this node received it, in milliseconds. */
const SLACK_MS = 1_000;
/** After this time a new moment is taken: clocks drift, and a store may have lost everything. In milliseconds. */
const MOMENT_MS = 300_000;
/** How many positions are requested at once. */
const BATCH = 200;

/** A template that was not heard for a while. */
interface Outage {
  readonly template: string;
  readonly heard: HeardChannels;
  /** It was heard at least until then, or nothing had been promised before. */
  readonly sinceMs: number;
  /** The listeners that know of its loss, once it was reported. */
  told: Told | undefined;
}

/** Receives the results of a search. */
export interface MissedOutput {
  /** A channel continues after a position; `undefined`: it had no messages before the first one heard. */
  goOn(template: string, channel: string, position: Position | undefined): void;
  /**
   * It cannot be known which channels had messages.
   *
   * @param isKnown - whether some of the listeners know of the loss
   */
  lost(template: string, told: Told, isKnown: boolean): void;
}

/**
 * Finds channels of templates that had their first messages while this node heard nothing, and their earlier positions. Known channels
 * find their gaps without it.
 */
export class MissedChannels {
  /** The latest known moment of the store, and when this node received it, or shortly after. */
  private known: { readonly moment: HistoryMoment; readonly atMs: number } | undefined = undefined;
  /** When it turned out, without an outage, that the store had lost its record of changes. */
  private lostMs = -Infinity;
  private readonly outages = new Map<string, Outage>();

  /** @param maxChannels - how many channels of one template are tracked */
  constructor(
    private readonly store: HistoryStore,
    private readonly output: MissedOutput,
    private readonly maxChannels: number,
  ) {}

  /** Whether the store can tell of changes. */
  get canFind(): boolean {
    return this.store.changes !== undefined;
  }

  /** Whether a moment is known: some template has listeners. */
  get isKnown(): boolean {
    return this.known !== undefined;
  }

  /** Whether the known moment is old. */
  get isOld(): boolean {
    return this.known !== undefined && performance.now() - this.known.atMs > MOMENT_MS;
  }

  get hasOutages(): boolean {
    return this.outages.size > 0;
  }

  /**
   * Notes the moment.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async noteMoment(): Promise<void> {
    if (!this.canFind || this.hasOutages) return;
    const { isWhole } = await this.changesSince(this.known && performance.now());
    if (!isWhole) this.lostMs = performance.now();
  }

  /**
   * Called when a template is heard again after an interruption.
   *
   * @returns whether the missed messages will be found, or reported as a gap
   */
  begin(template: string, heard: HeardChannels, forMs: number | undefined): boolean {
    if (this.known === undefined || forMs === undefined || heard.hasForgotten) return false;
    const before = this.outages.get(template);
    const sinceMs = Math.max(heard.promisedMs, performance.now() - forMs - SLACK_MS);
    if (sinceMs < this.lostMs) return false;
    const outage = { template, heard, sinceMs: Math.min(sinceMs, before?.sinceMs ?? Infinity), told: undefined };
    heard.want(outage);
    if (before !== undefined) heard.found(before);
    this.outages.set(template, outage);
    heard.holdUnknown();
    return true;
  }

  /**
   * Called when a channel has lost its history. If that came with an outage that is being searched, the search may report the same loss.
   *
   * @param told - the listeners that know of the loss, if any do
   * @returns they, or none yet; `undefined`: it is another loss
   */
  lossOf(template: string, told: Told | undefined): Told | undefined {
    const outage = this.outages.get(template);
    if (outage === undefined || outage.told !== told) return undefined;
    return (outage.told ??= new WeakSet());
  }

  /** Called when nobody is subscribed any more. */
  forget(template: string): void {
    this.outages.delete(template);
  }

  /**
   * Searches for all missed channels.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async find(): Promise<void> {
    const outages = [...this.outages.values()];
    if (outages.length === 0) return;
    const { known } = this;
    const { channels } = await this.changesSince(Math.min(...outages.map(({ sinceMs }) => sinceMs)));
    for (const outage of outages) {
      const missed = unknownOf(outage, channels);
      if (missed.length + outage.heard.byName.size > this.maxChannels) this.lose(outage);
      else await this.goOn(outage, missed, timeOf(known!, outage.sinceMs));
      this.end(outage);
    }
  }

  private lose(outage: Outage): void {
    if (!this.isOn(outage)) return;
    const isKnown = outage.told !== undefined;
    outage.told ??= new WeakSet();
    this.output.lost(outage.template, outage.told, isKnown);
  }

  private async goOn(outage: Outage, missed: readonly string[], at: HistoryTime): Promise<void> {
    const { template } = outage;
    for (let start = 0; start < missed.length; start += BATCH) {
      const part = missed.slice(start, start + BATCH);
      const positions = await this.store.positions(part, at);
      if (!this.isOn(outage)) return;
      part.forEach((channel, index) => this.output.goOn(template, channel, positions[index]));
    }
  }

  /** Ends an outage, unless a later one has replaced it and needs another search. */
  private end(outage: Outage): void {
    if (!this.isOn(outage)) return;
    const { template, heard } = outage;
    this.outages.delete(template);
    // Channels that are new since the request had no earlier messages.
    for (const channel of heard.takeHeld()) this.output.goOn(template, channel, undefined);
    heard.found(outage);
  }

  private isOn(outage: Outage): boolean {
    return this.outages.get(outage.template) === outage;
  }

  private async changesSince(ms: number | undefined): Promise<HistoryChanges> {
    const { known } = this;
    const since = known === undefined || ms === undefined ? undefined : timeOf(known, ms);
    const changes = await this.store.changes!(since);
    // The moment may be slightly too early; then the search finds more, not less.
    this.known = { moment: changes.now, atMs: performance.now() };
    // The store reports its loss only once, so outages that began meanwhile have it too.
    if (!changes.isWhole) for (const outage of this.outages.values()) this.lose(outage);
    return changes;
  }
}

function timeOf({ moment, atMs }: { moment: HistoryMoment; atMs: number }, ms: number): HistoryTime {
  return { moment, laterMs: ms - atMs };
}

/** The channels of a template that are not known yet. */
function unknownOf({ template, heard }: Outage, channels: readonly string[]): string[] {
  const segments = template.split('/');
  const changed = channels.filter((channel) => isOfTemplate(segments, channel.split('/')));
  return [...new Set([...changed, ...heard.held])].filter(
    (channel) => heard.byName.get(channel)?.position === undefined,
  );
}
