import { isTemplate } from '../protocol/channel-name.js';
import type { Position } from '../protocol/position.js';
import { Branches } from './branches.js';
import type { ReadBounds, ReadFailure } from './channel-log.js';
import type { HistoryRead, HistoryStore } from './history-store.js';
import { Deferred } from './deferred.js';
import { HeardChannels } from './heard-channels.js';
import { inTime } from './in-time.js';
import { MissedChannels, type MissedOutput } from './missed-channels.js';
import { OrderedChannel, type OrderedOutput } from './ordered-channel.js';
import { ToldLosses, type Told } from './told-losses.js';

/** How long a channel must be quiet before its position is compared with that of the store. In milliseconds. */
const QUIET_MS = 10_000;
/** How many positions are asked for at once. */
const BATCH = 200;
/** Where received messages go. */
export interface HistoriesOutput extends OrderedOutput {
  /** @param told - listeners of the template that know of the loss; those that are told now are added */
  gap(...gap: [...Parameters<OrderedOutput['gap']>, told?: Told]): void;
  /**
   * Messages of a template's channels may be missing, and it cannot be known of which ones.
   *
   * @param channel - the only one that is known to lack something
   */
  lost(template: string, told: Told, channel?: string): void;
}

/** How long to wait before asking again for positions that could not be read. In milliseconds. */
const RETRY_MS = 500;
/** How long after a sign that the store has lost its data it is asked for the moment. In milliseconds. */
const DOUBT_MS = 1_000;
/** How many channels of a template are tracked. Beyond that, the oldest are forgotten. */
const MAX_CHANNELS = 100_000;

/**
 * Orders the messages of channels with history on this node: each subscription gets each message once and in the order of offsets.
 * Messages that this node did not hear are read from the store before later ones are delivered.
 */
export class Histories {
  private readonly subscriptions = new Map<string, HeardChannels>();
  /** New subscriptions, whose positions are requested from the store. */
  private readonly beginnings = new Map<string, Deferred>();
  /** Channels that may have missed something. */
  private readonly doubted = new Set<OrderedChannel>();
  /** The next request for positions. */
  private asking: NodeJS.Immediate | NodeJS.Timeout | undefined = undefined;
  private timer: NodeJS.Timeout | undefined = undefined;
  /** The next request for the moment. */
  private doubting: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;
  private readonly ordered: OrderedOutput;
  private readonly branches: Branches;
  /** Losses of templates. */
  private readonly missed: MissedChannels;

  constructor(
    readonly store: HistoryStore,
    private readonly output: HistoriesOutput,
  ) {
    this.ordered = { ...output, gap: this.tellGap };
    this.branches = new Branches(store);
    const goOn: MissedOutput['goOn'] = (template, channel, position) => {
      if (this.subscriptions.has(template)) this.channelOf(template, channel).goOn(position);
    };
    this.missed = new MissedChannels(store, { goOn, lost: this.tellLost }, MAX_CHANNELS);
  }

  /**
   * Starts to listen to a channel, or to all channels of a template.
   *
   * @param interest - resolves when the broker has the subscription
   * @returns resolves when no later post can be missed, even if the link breaks before anything is heard; or when nobody is subscribed any
   *   more. Never rejects
   */
  async listen(subscription: string, interest: Promise<void>): Promise<void> {
    const heard = this.subscribe(subscription);
    this.timer ??= setTimeout(() => void this.compare(), nextCheckMs()).unref();
    await interest;
    if (this.subscriptions.get(subscription) !== heard) return;
    if (isTemplate(subscription) && !this.missed.canFind) return;
    const beginning = this.beginnings.get(subscription) ?? new Deferred();
    this.beginnings.set(subscription, beginning);
    this.askSoon();
    await beginning.promise;
  }

  /**
   * Resolves with the position after which the listeners of a subscribed channel hear every message.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async follow(name: string): Promise<Position> {
    const known = this.subscriptions.get(name)?.byName.get(name)?.position;
    if (known !== undefined) return known;
    const [position] = await this.store.positions([name]);
    return this.begin(name, position!);
  }

  /** Called when nobody is subscribed any more. */
  forget(subscription: string): void {
    const heard = this.subscriptions.get(subscription);
    for (const channel of heard?.byName.values() ?? []) this.drop(channel);
    heard?.close();
    this.subscriptions.delete(subscription);
    this.missed.forget(subscription);
    this.endBeginning(subscription);
  }

  /** Takes a payload with a position from the transport, for a subscription that has listeners. */
  receive(payload: string, subscription: string, channel: string, position: Position): void {
    this.channelOf(subscription, channel).receive(payload, position);
  }

  /**
   * Called when a subscription was not heard for a while.
   *
   * @param forMs - see `TransportLoss`
   * @returns whether all messages that may be missing will be found, or reported as a gap
   */
  lost(subscription: string, forMs?: number): boolean {
    const heard = this.subscriptions.get(subscription);
    if (heard === undefined) return false;
    // Nothing has been promised yet; the beginning is read when the link is back.
    let isKnown = this.beginnings.has(subscription);
    for (const [name, channel] of heard.byName) {
      if (channel.position === undefined) continue;
      isKnown ||= name === subscription;
      this.doubted.add(channel);
      heard.want(channel);
    }
    heard.told?.clear();
    if (isTemplate(subscription)) isKnown ||= this.missed.begin(subscription, heard, forMs);
    // The caller reports the loss.
    if (!isKnown) heard.told?.note(heard.byName.values(), 'all');
    this.askSoon();
    return isKnown;
  }

  /**
   * Waits until all missing messages of a subscription that are being read have arrived. Never rejects.
   *
   * @returns `false` if that takes longer than `ms`
   */
  async whenWhole(subscription: string, ms: number): Promise<boolean> {
    const whole = this.subscriptions.get(subscription)?.whenWhole();
    return (
      whole === undefined ||
      inTime(
        whole.then(() => true),
        ms,
        () => false,
        { unref: true },
      )
    );
  }

  /** Whether the subscription to a channel is exactly at a position. If so, no later message will be missing. */
  hasHeard(name: string, position: Position): boolean {
    if (!this.subscriptions.has(name)) return false;
    const channel = this.channelOf(name, name);
    channel.beginAt(position);
    return channel.isAt(position);
  }

  /** See {@link Branches.read}. */
  read(channel: string, after: Position | number, page?: ReadBounds): Promise<HistoryRead> {
    return this.branches.read(channel, after, page);
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    clearTimeout(this.doubting);
    clearTimeout(this.asking as NodeJS.Timeout);
    clearImmediate(this.asking as NodeJS.Immediate);
    for (const subscription of [...this.subscriptions.keys()]) this.forget(subscription);
  }

  private drop(channel: OrderedChannel): void {
    channel.close();
    this.doubted.delete(channel);
  }

  private subscribe(subscription: string): HeardChannels {
    let heard = this.subscriptions.get(subscription);
    if (heard === undefined) {
      heard = new HeardChannels(isTemplate(subscription) ? new ToldLosses() : undefined);
      this.subscriptions.set(subscription, heard);
    }
    return heard;
  }

  private channelOf(subscription: string, name: string): OrderedChannel {
    const heard = this.subscribe(subscription);
    const { byName: channels } = heard;
    let channel = channels.get(name);
    if (channel === undefined) {
      channel = new OrderedChannel(name, subscription, this.branches, this.ordered, this.changed);
      channels.set(name, channel);
      heard.holdNew(channel);
      const [oldest] = channels;
      if (channels.size > MAX_CHANNELS && oldest !== undefined) {
        this.drop(oldest[1]);
        heard.found(oldest[1]);
        heard.told?.forget(oldest[1]);
        heard.hasForgotten = true;
        channels.delete(oldest[0]);
      }
    }
    return channel;
  }

  private readonly changed = (channel: OrderedChannel): void => {
    const heard = this.subscriptions.get(channel.subscription);
    if (heard?.byName.get(channel.name) !== channel) return;
    if (channel.isReading) heard.want(channel);
    else if (!this.doubted.has(channel)) heard.found(channel);
  };

  private readonly tellLost: MissedOutput['lost'] = (template, told, isKnown) => {
    const heard = this.subscriptions.get(template);
    if (!isKnown) heard?.told?.note(heard.byName.values(), told);
    this.output.lost(template, told);
  };

  /** Tells listeners of a template only once if several of its channels have lost their histories. */
  private readonly tellGap: OrderedOutput['gap'] = (subscription, name, failure, position) => {
    if (failure !== 'trimmed') this.doubtStore();
    const heard = this.subscriptions.get(subscription);
    const channel = heard?.byName.get(name);
    const isGone =
      failure !== 'trimmed' && channel?.position !== undefined && channel.position.epoch !== position.epoch;
    if (!isGone || heard?.told === undefined) return this.output.gap(subscription, name, failure, position);
    const isBranch = this.branches.areOne(name, channel.position, position);
    const known = heard.told.of(channel, position, isBranch);
    if (known === 'all') return;
    const lost = this.missed.lossOf(subscription, known);
    const told: Told = lost ?? known ?? new WeakSet();
    if (known === undefined) heard.told.note(heard.byName.values(), told);
    if (lost === undefined) this.output.gap(subscription, name, failure, position, told);
    else this.output.lost(subscription, told, name);
  };

  private askSoon(): void {
    this.asking ??= setImmediate(() => void this.findPositions());
  }

  /** Reads the positions of new channels, and of those that may have missed something. */
  private async findPositions(): Promise<void> {
    const doubted = byName(this.doubted);
    const begun = [...this.beginnings.keys()].filter((name) => !isTemplate(name));
    const areKnown = await this.ask([...new Set([...begun, ...doubted.keys()])], (name, position) => {
      if (this.beginnings.has(name)) this.begin(name, position);
      this.endBeginning(name);
      for (const channel of doubted.get(name) ?? []) {
        this.doubted.delete(channel);
        this.subscriptions.get(channel.subscription)?.told?.see(channel, position);
        channel.checkUntil(position);
        this.changed(channel);
      }
    });
    const isAnswered = areKnown && (await this.findMissed());
    this.asking = undefined;
    if ((this.beginnings.size === 0 && this.doubted.size === 0 && !this.missed.hasOutages) || this.isClosed) return;
    if (isAnswered) this.askSoon();
    else this.asking = setTimeout(() => void this.findPositions(), RETRY_MS).unref();
  }

  /** Looks for losses of templates. @returns whether everything is known */
  private async findMissed(): Promise<boolean> {
    try {
      const templates = [...this.beginnings.keys()].filter(isTemplate);
      if (templates.length > 0) await this.missed.noteMoment();
      for (const template of templates) {
        const heard = this.subscriptions.get(template);
        if (heard !== undefined) heard.promisedMs = performance.now();
        this.endBeginning(template);
      }
      await this.missed.find();
      return true;
    } catch {
      // The link is down, as the status shows.
      return false;
    }
  }

  private endBeginning(name: string): void {
    this.beginnings.get(name)?.resolve();
    this.beginnings.delete(name);
  }

  /** Sets the position of a subscribed channel. @returns the position after which its listeners hear every message */
  private begin(name: string, position: Position): Position {
    if (!this.subscriptions.has(name)) return position;
    const channel = this.channelOf(name, name);
    const last = channel.beginAt(position);
    // Nobody heard the posts that were appended before the broker knew of the subscription.
    if (last.epoch !== position.epoch || last.offset < position.offset) channel.check();
    return last;
  }

  /** Checks whether something was published that this node has not heard, although no loss was reported. */
  private async compare(): Promise<void> {
    const before = performance.now() - QUIET_MS;
    const all = [...this.subscriptions.values()].flatMap(({ byName: channels }) => [...channels.values()]);
    const quiet = byName(all.filter((channel) => channel.isQuietSince(before)));
    await this.ask([...quiet.keys()], (name, position) => {
      for (const channel of quiet.get(name) ?? []) {
        this.subscriptions.get(channel.subscription)?.told?.see(channel, position);
        channel.compare(position, before);
      }
    });
    if (this.missed.isOld) await this.missed.noteMoment().catch(() => {});
    if (!this.isClosed) this.timer = setTimeout(() => void this.compare(), nextCheckMs()).unref();
  }

  /** The store may have lost everything. Templates need a new moment then: the old one would make the next outage look like a loss. */
  private doubtStore(): void {
    if (this.isClosed || !this.missed.isKnown) return;
    this.doubting ??= setTimeout(() => {
      this.doubting = undefined;
      // If the link is down, the outage itself is searched.
      void this.missed.noteMoment().catch(() => {});
    }, DOUBT_MS).unref();
  }

  /**
   * Asks for positions in batches, so that many channels delay nobody.
   *
   * @returns whether all are known
   */
  private async ask(names: readonly string[], tell: (name: string, position: Position) => void): Promise<boolean> {
    for (let start = 0; start < names.length && !this.isClosed; start += BATCH) {
      const part = names.slice(start, start + BATCH);
      try {
        const positions = await this.store.positions(part);
        part.forEach((name, index) => this.isClosed || tell(name, positions[index]!));
      } catch {
        // The link is down, as the status shows.
        return false;
      }
    }
    return true;
  }
}

/** One name may belong to several subscriptions. */
function byName(channels: Iterable<OrderedChannel>): Map<string, OrderedChannel[]> {
  const found = new Map<string, OrderedChannel[]>();
  for (const channel of channels) {
    const others = found.get(channel.name);
    if (others === undefined) found.set(channel.name, [channel]);
    else others.push(channel);
  }
  return found;
}

/** Spread, so that servers that started together do not ask at the same time. */
function nextCheckMs(): number {
  return QUIET_MS * (0.75 + Math.random() / 2);
}

/** The reason for missing messages of a history, as reported to listeners. */
export function gapReasonOf(failure: ReadFailure): 'trimmed' | 'epoch' {
  return failure === 'trimmed' ? 'trimmed' : 'epoch';
}

/** The error text for a channel with history over a transport without one. */
export function keepsNone(channel: string): string {
  return `Channel "${channel}" has the option "history", but the transport of this application keeps no histories; use Redis, or leave out the option`;
}
