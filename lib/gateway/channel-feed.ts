import { Cuts } from '../core/cut.js';
import type { Delivery } from '../core/delivery.js';
import type { MemoryLog } from '../core/memory-log.js';
import type { Admission } from '../core/recovery.js';
import type { GapReason } from '../protocol/position.js';
import { dropRuleOf } from '../sse/drop-rule.js';
import type { FeedContext, FeedPlace } from '../sse/feed.js';
import { gapFrame, type Frame } from '../sse/frame.js';
import { eventFrame } from '../sse/message-frame.js';
import { clientMessage, type ClientMessage } from './client-message.js';
import { UsedFeed, type NativeReader } from './used-feed.js';

/**
 * Feeds one channel, or all channels of a template, to the clients of this node: one listener, and a log of recent messages for
 * returning clients.
 */
export class ChannelFeed extends UsedFeed<FeedContext> {
  readonly cuts = new Cuts();
  private isRegistered = false;
  private hasEarlyReaders = false;
  private latest: Admission | undefined = undefined;

  /** @throws ConfigurationError if the class of the channel has the name of another class */
  constructor(
    context: FeedContext,
    name: string,
    readonly log: MemoryLog<ClientMessage>,
  ) {
    super(context, name);
    void this.feed.ready.then(() => this.noteRegistered());
  }

  /** Whether clients with this name get a channel: a template as a whole gets only channels that nothing else decides about. */
  carries(channel: string): boolean {
    return !this.feed.isTemplate || this.context.hub.definitions.decides(this.name, channel);
  }

  /** The admission of a client that enters now. Clients that enter between two messages share one object. */
  get admission(): Admission {
    const { number, lastOffset } = this.log;
    if (this.latest?.admitted !== lastOffset) this.latest = { log: number, admitted: lastOffset };
    return this.latest;
  }

  /** Sends a reader of either form all messages from now on. Call it directly after {@link settle}. */
  join(place: FeedPlace | NativeReader): void {
    if (!this.isRegistered) this.hasEarlyReaders = true;
    this.letIn(place);
  }

  /** See {@link UsedFeed.lost}. Applies to current and returning readers. */
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
    // They were told that they are subscribed while the broker was away.
    if (this.hasEarlyReaders) this.lost('broker');
  }
}
