import type { PublisherListener } from './post-problem.js';
import { isElsewhere, isUnsent } from './redis-client.js';
import { RedisPublisher, type PendingBytes, type PublishLink } from './redis-publisher.js';
import type { RedisShard } from './redis-shard.js';

/** What a {@link ShardedGroup} needs of others, and tells them. */
export interface GroupListener extends PublisherListener {
  /** The group may have another master. Resolves when that is known. */
  refresh(): Promise<void>;
}

/**
 * The posts to a group of channels, which is in one slot of a Cluster: in order, whichever master has the slot. A post that a
 * master has refused, since the slot is no longer its own, was not published; it is sent to the next one, when all that was
 * sent to the former one has been answered.
 */
export class ShardedGroup implements PublishLink {
  /** The master that has the slot, if that is known. */
  shard: RedisShard | undefined = undefined;
  readonly publisher: RedisPublisher;
  readonly publishing = {
    publish: (channel: string, text: string): Promise<unknown> => {
      this.sentTo = this.shard;
      return this.shard!.publish(channel, text);
    },
  };
  // Why nothing is sent before all has been answered.
  private stalled: 'moved' | 'untaught' | undefined = undefined;
  // The master that may still have to answer.
  private sentTo: RedisShard | undefined = undefined;

  constructor(
    timeoutMs: number,
    pending: PendingBytes,
    private readonly listener: GroupListener,
  ) {
    this.publisher = new RedisPublisher(timeoutMs, listener, pending);
    this.publisher.attach(this);
  }

  get isUp(): boolean {
    return this.stalled === undefined && this.shard?.isOpen === true;
  }

  /** The master takes posts. */
  open(): void {
    if (this.stalled !== 'moved') this.resume();
  }

  /** Another master has the slot. */
  moveTo(shard: RedisShard | undefined): void {
    this.shard = shard;
    if (this.publisher.isWaitingForAnswers) this.stalled = 'moved';
    else this.resume();
  }

  /** A master is gone, or its link: it answers no more. */
  lost(shard: RedisShard): void {
    if (this.sentTo !== shard) return;
    this.sentTo = undefined;
    this.publisher.down();
    this.resume();
  }

  overdue(): void {
    void this.listener.refresh();
  }

  isUnsent(error: Error): boolean {
    if (isElsewhere(error)) this.stalled = 'moved';
    else if (error.message.startsWith('NOSCRIPT')) this.stalled ??= 'untaught';
    else return isUnsent(error);
    return true;
  }

  idle(): void {
    if (this.stalled === 'untaught') void this.shard?.teach();
    else if (this.stalled === 'moved') void this.listener.refresh().then(() => this.resume());
  }

  private resume(): void {
    if (this.publisher.isWaitingForAnswers) return;
    this.stalled = undefined;
    this.publisher.up();
  }
}
