import { Cuts } from '../core/cut.js';
import type { Delivery } from '../core/delivery.js';
import type { MemoryLog } from '../core/memory-log.js';
import type { GapReason } from '../protocol/position.js';
import { dropRuleOf } from '../sse/drop-rule.js';
import { Feed, type FeedContext, type FeedPlace, type FeedWriter } from '../sse/feed.js';
import { gapFrame, type Frame } from '../sse/frame.js';
import { eventFrame } from '../sse/message-frame.js';
import { clientMessage, type ClientMessage } from './client-message.js';

/** Who is sent the messages of a feed as a native EventSource reads them, each under an `id` of its own. */
export interface NativeReader {
  /**
   * @param frame - the message, without `id`
   * @param epoch - of the history that the channel keeps
   */
  message(offset: number, frame: Frame, epoch?: string): void;
  gap(offset: number, reason: GapReason, epoch?: string): void;
}

/**
 * What clients of this node get of one channel, or of all channels of a template: one listener, and a log of what it heard
 * for those who come back.
 */
export class ChannelFeed implements FeedWriter {
  readonly cuts = new Cuts();
  private readonly feed: Feed;
  private readonly natives = new Set<NativeReader>();
  /** How many clients have it, also those that are not sent anything yet. */
  private users = 0;
  private isRegistered = false;
  private hasEarlyReaders = false;

  /** @throws ConfigurationError if the class of the channel has the name of another one */
  constructor(
    private readonly context: FeedContext,
    readonly name: string,
    readonly log: MemoryLog<ClientMessage>,
  ) {
    const { hub } = context;
    this.feed = new Feed(context, hub.heardUnder(name), 'subscriptions of clients', this);
    void this.feed.ready.then(() => this.noteRegistered());
  }

  /** See `MessageSubscription.ready`. */
  get ready(): Promise<void> {
    return this.feed.ready;
  }

  /** Whether a message is for those who have this name: of a template as a whole, what nothing else decides about. */
  carries(channel: string): boolean {
    return !this.feed.isTemplate || this.context.hub.definitions.decides(this.name, channel);
  }

  /** Whether any client has it, also one that is not sent anything yet. */
  get isUsed(): boolean {
    return this.users > 0;
  }

  use(): void {
    this.users++;
  }

  /** @returns whether anybody else has it */
  release(): boolean {
    return --this.users > 0;
  }

  /** Hands all readers what the log has, so that its end is where each of them is. */
  settle(): void {
    this.context.flusher.settle();
  }

  /** Sends a reader of either form what comes from now on; to be called right after {@link settle}. */
  join(place: FeedPlace | NativeReader): void {
    if (!this.isRegistered) this.hasEarlyReaders = true;
    if ('reader' in place) this.feed.join(place);
    else this.natives.add(place);
  }

  leave(place: FeedPlace | NativeReader): void {
    if ('reader' in place) this.feed.leave(place);
    else this.natives.delete(place);
  }

  /** See {@link FeedWriter.lost}: for all readers, and for those who come back. */
  lost(reason: GapReason): void {
    const { offset } = this.log.append({ kind: 'gap', reason });
    this.feed.send(gapFrame({ channel: this.name, reason }, String(offset)));
    for (const native of this.natives) native.gap(offset, reason);
  }

  close(): void {
    this.feed.close();
    this.log.close();
  }

  /** See {@link FeedWriter.frameOf}. */
  frameOf(delivery: Delivery): Frame | undefined {
    const { channel, node, serial } = delivery;
    if (!this.carries(channel)) return undefined;
    const { hub } = this.context;
    const offset = this.log.lastOffset + 1;
    const template = this.feed.isTemplate ? this.name : undefined;
    const rule = dropRuleOf(hub, delivery);
    const body = clientMessage(delivery, offset, template, rule && { ...rule, template, id: String(offset) });
    const native = this.natives.size > 0 ? eventFrame(hub, delivery) : undefined;
    this.log.append({ kind: 'message', channel, node, serial, body, bytes: body.frame.bytes.length });
    if (native !== undefined) for (const reader of this.natives) reader.message(offset, native);
    return body.frame;
  }

  private noteRegistered(): void {
    this.isRegistered = true;
    // While the broker was away they were told that they are subscribed.
    if (this.hasEarlyReaders) this.lost('broker');
  }
}
