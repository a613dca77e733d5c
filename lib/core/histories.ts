import { isTemplate } from '../protocol/channel-name.js';
import type { Position } from '../protocol/position.js';
import type { ReadBounds, ReadFailure } from './channel-log.js';
import type { HistoryRead, HistoryStore } from './history-store.js';
import { OrderedChannel, type OrderedOutput } from './ordered-channel.js';

/** How long a channel has been quiet when its position is compared with that of the store, at least. In milliseconds. */
const QUIET_MS = 10_000;
/** How many positions are asked for at once. */
const BATCH = 200;
/** Of so many channels of a template it is known how far they have come; of those heard longest ago it is forgotten. */
const MAX_CHANNELS = 100_000;

/** What a subscription has heard of its channels. */
type Subscription = Map<string, OrderedChannel>;

/**
 * What this node hears of channels with history: each message of each subscription once and in the order of offsets. What it
 * did not hear is read from the store before what comes after it is delivered.
 */
export class Histories {
  private readonly subscriptions = new Map<string, Subscription>();
  /** Channels whose position is to be asked for, since they have just been subscribed to. */
  private begun = new Set<string>();
  /** Before the first of each channel that this node has appended while its listeners were not ready. */
  private readonly early = new Map<string, Position>();
  private timer: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;

  constructor(
    readonly store: HistoryStore,
    private readonly output: OrderedOutput,
  ) {}

  /**
   * A channel, or all channels of a template, are subscribed to.
   *
   * @param interest - resolves when that is so at the broker
   */
  listen(subscription: string, interest: Promise<void>): void {
    if (this.subscriptions.has(subscription)) return;
    const channels: Subscription = new Map();
    this.subscriptions.set(subscription, channels);
    this.timer ??= setTimeout(() => void this.compare(), nextCheckMs()).unref();
    if (isTemplate(subscription)) return;
    // From here on nothing may be missing, also if nothing is heard before the link breaks.
    void interest.then(() => {
      if (this.subscriptions.get(subscription) !== channels) return;
      if (this.begun.size === 0) setImmediate(() => void this.findBeginnings());
      this.begun.add(subscription);
    });
  }

  /**
   * From where the listeners of a channel that is subscribed to hear all, without a hole.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async follow(name: string): Promise<Position> {
    const known = this.subscriptions.get(name)?.get(name)?.position;
    if (known !== undefined) return known;
    const [position] = await this.store.positions([name]);
    return this.begin(name, position!);
  }

  /** This node has appended something for listeners that are not ready yet: they begin before it. */
  noteEarly(channel: string, { epoch, offset }: Position): void {
    if (!this.early.has(channel)) this.early.set(channel, { epoch, offset: offset - 1 });
  }

  /** Nobody is subscribed any more. */
  forget(subscription: string): void {
    for (const channel of this.subscriptions.get(subscription)?.values() ?? []) channel.close();
    this.subscriptions.delete(subscription);
  }

  /** Takes what a transport hands over with a position. */
  receive(payload: string, subscription: string, channel: string, position: Position): void {
    if (!this.subscriptions.has(subscription)) this.subscriptions.set(subscription, new Map());
    this.channelOf(subscription, channel).receive(payload, position);
  }

  /**
   * A subscription was not heard for a while.
   *
   * @returns whether all that may be missing will be found, or told
   */
  lost(subscription: string): boolean {
    const channels = this.subscriptions.get(subscription);
    if (channels === undefined || channels.size === 0) return false;
    let isKnown = false;
    for (const [name, channel] of channels) isKnown = channel.check() && name === subscription;
    // A channel of the template that was never heard may have had its first message meanwhile.
    return isKnown;
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
    for (const subscription of [...this.subscriptions.keys()]) this.forget(subscription);
  }

  private channelOf(subscription: string, name: string): OrderedChannel {
    const channels = this.subscriptions.get(subscription)!;
    let channel = channels.get(name);
    if (channel === undefined) {
      channel = new OrderedChannel(name, subscription, this.store, this.output);
      channels.set(name, channel);
      const [oldest] = channels;
      if (channels.size > MAX_CHANNELS && oldest !== undefined) {
        oldest[1].close();
        channels.delete(oldest[0]);
      }
    }
    return channel;
  }

  private async findBeginnings(): Promise<void> {
    const names = [...this.begun];
    this.begun = new Set();
    await this.ask(names, (name, position) => void this.begin(name, position));
  }

  /** A channel that is subscribed to has come so far. @returns from where its listeners hear all */
  private begin(name: string, position: Position): Position {
    if (!this.subscriptions.has(name)) return position;
    const channel = this.channelOf(name, name);
    const early = this.early.get(name);
    this.early.delete(name);
    const last = channel.beginAt(early ?? position);
    // Before the broker knew of the subscription nothing was heard.
    if (last.epoch !== position.epoch || last.offset < position.offset) channel.check();
    return last;
  }

  /** Looks whether something was published that this node has not heard, without knowing of a loss. */
  private async compare(): Promise<void> {
    const quiet = new Map<string, OrderedChannel[]>();
    const before = performance.now() - QUIET_MS;
    for (const channels of this.subscriptions.values()) {
      for (const [name, channel] of channels) {
        if (!channel.isQuietSince(before)) continue;
        const others = quiet.get(name);
        if (others === undefined) quiet.set(name, [channel]);
        else others.push(channel);
      }
    }
    await this.ask([...quiet.keys()], (name, position) => {
      for (const channel of quiet.get(name) ?? []) channel.compare(position, before);
    });
    if (!this.isClosed) this.timer = setTimeout(() => void this.compare(), nextCheckMs()).unref();
  }

  /** Asks for positions in turn, so that many channels hold up nobody. */
  private async ask(names: readonly string[], tell: (name: string, position: Position) => void): Promise<void> {
    for (let start = 0; start < names.length && !this.isClosed; start += BATCH) {
      const part = names.slice(start, start + BATCH);
      try {
        const positions = await this.store.positions(part);
        part.forEach((name, index) => this.isClosed || tell(name, positions[index]!));
      } catch {
        // The link is away, which the status tells; when it is back, what is subscribed to is compared.
        return;
      }
    }
  }
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
  return `Channel "${channel}" keeps a history, which the transport of this application cannot; use Redis, or leave out the option "history"`;
}
