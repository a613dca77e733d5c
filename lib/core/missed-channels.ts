import { matchTemplate } from '../protocol/channel-name.js';
import type { Position } from '../protocol/position.js';
import type { HeardChannels } from './heard-channels.js';
import type { HistoryChanges, HistoryMoment, HistoryStore, HistoryTime } from './history-store.js';

/** Between a moment of the store and when it is here, in milliseconds. */
const SLACK_MS = 1_000;
/** After so long the moment is a new one: clocks do not go alike, and a store may have lost everything. In milliseconds. */
const MOMENT_MS = 300_000;
/** How many positions are asked for at once. */
const BATCH = 200;

/** A template that was not heard for a while. */
interface Outage {
  readonly template: string;
  readonly heard: HeardChannels;
  /** It was heard until then at least, or nobody was promised anything before. */
  readonly sinceMs: number;
}

/** What becomes of what was looked for. */
export interface MissedOutput {
  /** A channel goes on after a position; `undefined`: it had nothing before what is heard of it. */
  goOn(template: string, channel: string, position: Position | undefined): void;
  /** It cannot be known which channels have had messages. */
  lost(template: string): void;
}

/**
 * Finds the channels of templates that had their first messages while this node heard nothing, and where they were before. What is
 * known already finds its holes by itself.
 */
export class MissedChannels {
  /** The latest moment that is known of the store, and when that was here, or shortly after it. */
  private known: { readonly moment: HistoryMoment; readonly atMs: number } | undefined = undefined;
  /** When it was found, without an outage, that the store had lost what it knew of changes. */
  private lostMs = -Infinity;
  private readonly outages = new Map<string, Outage>();

  /** @param maxChannels - more are not known of one template */
  constructor(
    private readonly store: HistoryStore,
    private readonly output: MissedOutput,
    private readonly maxChannels: number,
  ) {}

  /** Whether the store can tell of changes. */
  get canFind(): boolean {
    return this.store.changes !== undefined;
  }

  /** Whether the moment that is known is an old one. */
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
   * A template was not heard for a while, and is again.
   *
   * @returns whether it will be found, or told, what was missed
   */
  begin(template: string, heard: HeardChannels, forMs: number | undefined): boolean {
    if (this.known === undefined || forMs === undefined || heard.hasForgotten) return false;
    const before = this.outages.get(template);
    const sinceMs = Math.max(heard.promisedMs, performance.now() - forMs - SLACK_MS);
    if (sinceMs < this.lostMs) return false;
    const outage = { template, heard, sinceMs: Math.min(sinceMs, before?.sinceMs ?? Infinity) };
    heard.want(outage);
    if (before !== undefined) heard.found(before);
    this.outages.set(template, outage);
    heard.holdUnknown();
    return true;
  }

  /** Nobody is subscribed any more. */
  forget(template: string): void {
    this.outages.delete(template);
  }

  /**
   * Looks for all that was missed.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async find(): Promise<void> {
    const outages = [...this.outages.values()];
    if (outages.length === 0) return;
    const { known } = this;
    const { channels, isWhole } = await this.changesSince(Math.min(...outages.map(({ sinceMs }) => sinceMs)));
    // All are told first: the store tells it only once.
    if (!isWhole) for (const outage of outages) this.lose(outage);
    for (const outage of outages) {
      const missed = unknownOf(outage, channels);
      if (missed.length + outage.heard.byName.size > this.maxChannels) this.lose(outage);
      else await this.goOn(outage, missed, timeOf(known!, outage.sinceMs));
      this.end(outage);
    }
  }

  private lose(outage: Outage): void {
    if (this.isOn(outage)) this.output.lost(outage.template);
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

  /** If there was no other one meanwhile, for which it is looked again. */
  private end(outage: Outage): void {
    if (!this.isOn(outage)) return;
    const { template, heard } = outage;
    this.outages.delete(template);
    // What has come since it was asked had nothing before.
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
    // It may be a little earlier: what is told then is more, not less.
    this.known = { moment: changes.now, atMs: performance.now() };
    return changes;
  }
}

function timeOf({ moment, atMs }: { moment: HistoryMoment; atMs: number }, ms: number): HistoryTime {
  return { moment, laterMs: ms - atMs };
}

/** Those of a template of which nothing is known yet. */
function unknownOf({ template, heard }: Outage, channels: readonly string[]): string[] {
  const segments = template.split('/');
  const changed = channels.filter((channel) => matchTemplate(segments, channel.split('/')) !== undefined);
  return [...new Set([...changed, ...heard.held])].filter(
    (channel) => heard.byName.get(channel)?.position === undefined,
  );
}
