import { Cuts } from '../core/cut.js';
import type { Delivery } from '../core/delivery.js';
import type { MemoryLog } from '../core/memory-log.js';
import type { GapReason } from '../protocol/position.js';
import { dropRuleOf } from '../sse/drop-rule.js';
import type { FeedContext, FeedPlace } from '../sse/feed.js';
import { gapFrame, type Frame } from '../sse/frame.js';
import { eventFrame } from '../sse/message-frame.js';
import { clientMessage, type ClientMessage } from './client-message.js';
import { UsedFeed, type NativeReader } from './used-feed.js';

/**
 * What clients of this node get of one channel, or of all channels of a template: one listener, and a log of what it heard
 * for those who come back.
 */
export class ChannelFeed extends UsedFeed<FeedContext> {
  readonly cuts = new Cuts();
  private isRegistered = false;
  private hasEarlyReaders = false;

  /** @throws ConfigurationError if the class of the channel has the name of another one */
  constructor(
    context: FeedContext,
    name: string,
    readonly log: MemoryLog<ClientMessage>,
  ) {
    super(context, name);
    void this.feed.ready.then(() => this.noteRegistered());
  }

  /** Whether a channel is for those who have this name: of a template as a whole, what nothing else decides about. */
  carries(channel: string): boolean {
    return !this.feed.isTemplate || this.context.hub.definitions.decides(this.name, channel);
  }

  /** Sends a reader of either form what comes from now on; to be called right after {@link settle}. */
  join(place: FeedPlace | NativeReader): void {
    if (!this.isRegistered) this.hasEarlyReaders = true;
    this.letIn(place);
  }

  /** See {@link UsedFeed.lost}: for all readers, and for those who come back. */
  lost(reason: GapReason): void {
    const { offset } = this.log.append({ kind: 'gap', reason });
    this.feed.send(gapFrame({ channel: this.name, reason }, String(offset)));
    for (const native of this.natives) native.gap(offset, reason);
  }

  override close(): void {
    super.close();
    this.log.close();
  }

  /** See {@link UsedFeed.frameOf}. */
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
