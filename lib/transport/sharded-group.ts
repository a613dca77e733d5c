import type { PublisherListener } from './post-problem.js';
import { isElsewhere, isUnsent } from './redis-client.js';
import { RedisPublisher, type PendingBytes, type PublishLink } from './redis-publisher.js';
import type { RedisShard } from './redis-shard.js';

/** The environment of a {@link ShardedGroup}. */
export interface GroupListener extends PublisherListener {
  /** The group may have moved to another master. Resolves when its master is known. */
  refresh(): Promise<void>;
}

/**
 * The posts to a group of channels in one slot of a Cluster: in order, whichever master has the slot. If a master refuses a post because it
 * no longer has the slot, the post was not published. It is sent to the new master when the former one has answered everything.
 */
export class ShardedGroup implements PublishLink {
  /** The master of the slot, if it is known. */
  shard: RedisShard | undefined = undefined;
  readonly publisher: RedisPublisher;
  readonly publishing = {
    publish: (channel: string, text: string): Promise<unknown> => {
      this.sentTo = this.shard;
      return this.shard!.publish(channel, text);
    },
  };
  // Why nothing is sent until everything is answered.
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

  /** The master accepts posts. */
  open(): void {
    if (this.stalled !== 'moved') this.resume();
  }

  /** Another master has the slot. */
  moveTo(shard: RedisShard | undefined): void {
    this.shard = shard;
    if (this.publisher.isWaitingForAnswers) this.stalled = 'moved';
    else this.resume();
  }

  /** A master, or its link, is gone and will not answer any more. */
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
