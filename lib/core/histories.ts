import { isTemplate } from '../protocol/channel-name.js';
import type { Position } from '../protocol/position.js';
import type { ReadBounds, ReadFailure } from './channel-log.js';
import type { HistoryRead, HistoryStore } from './history-store.js';
import { Deferred } from './deferred.js';
import { HeardChannels } from './heard-channels.js';
import { inTime } from './in-time.js';
import { MissedChannels, type MissedOutput } from './missed-channels.js';
import { OrderedChannel, type OrderedOutput } from './ordered-channel.js';

/** How long a channel has been quiet when its position is compared with that of the store, at least. In milliseconds. */
const QUIET_MS = 10_000;
/** How many positions are asked for at once. */
const BATCH = 200;
/** Where what is heard goes. */
export interface HistoriesOutput extends OrderedOutput {
  /** Messages of channels of a template may be missing, and it cannot be known of which. */
  lost(template: string): void;
}

/** After this long positions that could not be known are asked for again. In milliseconds. */
const RETRY_MS = 500;
/** Of so many channels of a template it is known how far they have come; of the first ones it is forgotten then. */
const MAX_CHANNELS = 100_000;

/**
 * What this node hears of channels with history: each message of each subscription once and in the order of offsets. What it
 * did not hear is read from the store before what comes after it is delivered.
 */
export class Histories {
  private readonly subscriptions = new Map<string, HeardChannels>();
  /** Channels that were just subscribed to: the store is asked for their positions. */
  private readonly beginnings = new Map<string, Deferred>();
  /** Those that may have missed something. */
  private readonly doubted = new Set<OrderedChannel>();
  /** The next time that positions are asked for. */
  private asking: NodeJS.Immediate | NodeJS.Timeout | undefined = undefined;
  private timer: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;
  /** Of templates. */
  private readonly missed: MissedChannels;

  constructor(
    readonly store: HistoryStore,
    private readonly output: HistoriesOutput,
  ) {
    const goOn: MissedOutput['goOn'] = (template, channel, position) => {
      if (this.subscriptions.has(template)) this.channelOf(template, channel).goOn(position);
    };
    this.missed = new MissedChannels(store, { goOn, lost: (template) => output.lost(template) }, MAX_CHANNELS);
  }

  /**
   * A channel, or all channels of a template, are subscribed to.
   *
   * @param interest - resolves when that is so at the broker
   * @returns resolves when nothing that is posted from now on can be missing, also if the link breaks before anything is
   *   heard; or when nobody is subscribed any more. Never rejects
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
   * From where the listeners of a channel that is subscribed to hear all, without a hole.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async follow(name: string): Promise<Position> {
    const known = this.subscriptions.get(name)?.byName.get(name)?.position;
    if (known !== undefined) return known;
    const [position] = await this.store.positions([name]);
    return this.begin(name, position!);
  }

  /** Nobody is subscribed any more. */
  forget(subscription: string): void {
    const heard = this.subscriptions.get(subscription);
    for (const channel of heard?.byName.values() ?? []) this.drop(channel);
    heard?.close();
    this.subscriptions.delete(subscription);
    this.missed.forget(subscription);
    this.endBeginning(subscription);
  }

  /** Takes what a transport hands over with a position, for a subscription that somebody listens to. */
  receive(payload: string, subscription: string, channel: string, position: Position): void {
    this.channelOf(subscription, channel).receive(payload, position);
  }

  /**
   * A subscription was not heard for a while.
   *
   * @param forMs - see `TransportLoss`
   * @returns whether all that may be missing will be found, or told
   */
  lost(subscription: string, forMs?: number): boolean {
    const heard = this.subscriptions.get(subscription);
    if (heard === undefined) return false;
    // Nothing was promised yet, and the beginning will be asked for when the link is there.
    let isKnown = this.beginnings.has(subscription);
    for (const [name, channel] of heard.byName) {
      if (channel.position === undefined) continue;
      isKnown ||= name === subscription;
      this.doubted.add(channel);
      heard.want(channel);
    }
    if (isTemplate(subscription)) isKnown ||= this.missed.begin(subscription, heard, forMs);
    this.askSoon();
    return isKnown;
  }

  /**
   * Waits until nothing is missing that is being looked for of a subscription. Never rejects.
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

  /** Whether the subscription to a channel has come so far, and no further. Nothing after that will be missing. */
  hasHeard(name: string, position: Position): boolean {
    if (!this.subscriptions.has(name)) return false;
    const channel = this.channelOf(name, name);
    channel.beginAt(position);
    return channel.isAt(position);
  }

  /** See `HistoryStore.read`. */
  read(channel: string, after: Position | number, page?: ReadBounds): Promise<HistoryRead> {
    return this.store.read(channel, after, page);
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
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
    if (heard === undefined) this.subscriptions.set(subscription, (heard = new HeardChannels()));
    return heard;
  }

  private channelOf(subscription: string, name: string): OrderedChannel {
    const heard = this.subscribe(subscription);
    const { byName: channels } = heard;
    let channel = channels.get(name);
    if (channel === undefined) {
      channel = new OrderedChannel(name, subscription, this.store, this.output, this.changed);
      channels.set(name, channel);
      heard.holdNew(channel);
      const [oldest] = channels;
      if (channels.size > MAX_CHANNELS && oldest !== undefined) {
        this.drop(oldest[1]);
        heard.found(oldest[1]);
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

  private askSoon(): void {
    this.asking ??= setImmediate(() => void this.findPositions());
  }

  /** Of channels that begin, and of those that may have missed something. */
  private async findPositions(): Promise<void> {
    const doubted = byName(this.doubted);
    const begun = [...this.beginnings.keys()].filter((name) => !isTemplate(name));
    const areKnown = await this.ask([...new Set([...begun, ...doubted.keys()])], (name, position) => {
      if (this.beginnings.has(name)) this.begin(name, position);
      this.endBeginning(name);
      for (const channel of doubted.get(name) ?? []) {
        this.doubted.delete(channel);
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

  /** Of templates. @returns whether all is known */
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
      // The link is away, which the status tells.
      return false;
    }
  }

  private endBeginning(name: string): void {
    this.beginnings.get(name)?.resolve();
    this.beginnings.delete(name);
  }

  /** A channel that is subscribed to has come so far. @returns from where its listeners hear all */
  private begin(name: string, position: Position): Position {
    if (!this.subscriptions.has(name)) return position;
    const channel = this.channelOf(name, name);
    const last = channel.beginAt(position);
    // What was appended before the broker knew of the subscription was heard from nobody.
    if (last.epoch !== position.epoch || last.offset < position.offset) channel.check();
    return last;
  }

  /** Looks whether something was published that this node has not heard, without knowing of a loss. */
  private async compare(): Promise<void> {
    const before = performance.now() - QUIET_MS;
    const all = [...this.subscriptions.values()].flatMap(({ byName: channels }) => [...channels.values()]);
    const quiet = byName(all.filter((channel) => channel.isQuietSince(before)));
    await this.ask([...quiet.keys()], (name, position) => {
      for (const channel of quiet.get(name) ?? []) channel.compare(position, before);
    });
    if (this.missed.isOld) await this.missed.noteMoment().catch(() => {});
    if (!this.isClosed) this.timer = setTimeout(() => void this.compare(), nextCheckMs()).unref();
  }

  /**
   * Asks for positions in turn, so that many channels hold up nobody.
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
        // The link is away, which the status tells.
        return false;
      }
    }
    return true;
  }
}

/** A name may be of several subscriptions. */
function byName(channels: Iterable<OrderedChannel>): Map<string, OrderedChannel[]> {
  const found = new Map<string, OrderedChannel[]>();
  for (const channel of channels) {
    const others = found.get(channel.name);
    if (others === undefined) found.set(channel.name, [channel]);
    else others.push(channel);
  }
  return found;
}

/** Servers that have started together do not ask together. */
function nextCheckMs(): number {
  return QUIET_MS * (0.75 + Math.random() / 2);
}

/** Why messages of a history are missing, as it is told to listeners. */
export function gapReasonOf(failure: ReadFailure): 'trimmed' | 'epoch' {
  return failure === 'trimmed' ? 'trimmed' : 'epoch';
}

/** What to say of a channel with history over a transport that keeps none. */
export function keepsNone(channel: string): string {
  return `Channel "${channel}" has the option "history", but the transport of this application keeps no histories; use Redis, or leave out the option`;
}
