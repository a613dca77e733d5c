import type { INestApplicationContext } from '@nestjs/common';
import { Hub } from '../core/hub.js';
import type { PostOptions } from '../core/post-options.js';
import {
  isChannel,
  type AnyListenableChannel,
  type AnyPostableChannel,
  type Channel,
  type ChannelTemplate,
  type ListenableChannel,
} from '../protocol/channel.js';
import { checkChannelName, describe, isTemplate, isOfTemplate, RESERVED_PREFIX } from '../protocol/channel-name.js';
import { ConfigurationError, MessagingError } from '../protocol/errors.js';
import { isOfSource } from '../protocol/source.js';
import { awaitedOrNot } from './received-messages.js';

/** A post that was made. */
export interface RecordedPost<T = unknown> {
  /** The name of the channel, parameters filled in. */
  readonly channel: string;
  /** The instance that was posted. */
  readonly message: T;
  /** What was given beside it; empty if nothing. */
  readonly options: PostOptions;
}

/** A recorded post, and whether `next` has given it. */
interface Entry {
  readonly post: RecordedPost;
  isTaken: boolean;
}

/** A `next` that waits. */
interface Waiting {
  readonly fits: (channel: string) => boolean;
  readonly give: (post: RecordedPost) => void;
  readonly fail: (error: Error) => void;
}

/**
 * The posts that one server makes, in order, by whichever of its services. Posts that are refused (that throw) are not among them,
 * nor are those of other servers and of the library itself.
 *
 * @example
 * ```ts
 * const posts = recordPosts(app);
 * await app.get(MessagingService).postMessage(UserUpdates, new UserUpdate(7, 'Ada'));
 * expect(posts.to(UserUpdates)).toEqual([new UserUpdate(7, 'Ada')]);
 * ```
 */
export class RecordedPosts implements Disposable {
  private entries: Entry[] = [];
  private waiting: Waiting[] = [];
  private ended: string | undefined = undefined;

  /** @internal */
  constructor(hub: Hub) {
    const post = hub.post.bind(hub);
    // On this one hub, for a test: others, and the way of a message, have nothing to do with it.
    hub.post = (channel, message, options) => this.record(channel, message, options, post);
    const close = hub.close.bind(hub);
    hub.close = () => {
      this.end('the application has closed');
      return close();
    };
  }

  /** All posts since the start, or since {@link clear}. */
  get all(): readonly RecordedPost[] {
    return this.entries.map(({ post }) => post);
  }

  /**
   * The messages that were posted to a channel. A template stands for all of its channels.
   *
   * @throws InvalidChannelError for a wrong name
   */
  to<T>(channel: Channel<T> | ChannelTemplate<T>): T[];
  to<T = unknown>(channel: string): T[];
  to<T>(channel: ListenableChannel<T>): T[];
  to<T>(channel: ListenableChannel<T>): T[] {
    const fits = fitting(channel);
    return this.all.filter((post) => fits(post.channel)).map(({ message }) => message as T);
  }

  /**
   * The first message posted to a channel that no `next` has given before; waits for it.
   *
   * @throws InvalidChannelError for a wrong name
   */
  next<T>(channel: Channel<T> | ChannelTemplate<T>): Promise<T>;
  next<T = unknown>(channel: string): Promise<T>;
  next<T>(channel: ListenableChannel<T>): Promise<T>;
  next<T>(channel: ListenableChannel<T>): Promise<T> {
    return awaitedOrNot(this.nextPost<T>(channel).then(({ message }) => message));
  }

  /** Like {@link next}, with the name of the channel and the options. */
  nextPost<T>(channel: Channel<T> | ChannelTemplate<T>): Promise<RecordedPost<T>>;
  nextPost<T = unknown>(channel: string): Promise<RecordedPost<T>>;
  nextPost<T>(channel: ListenableChannel<T>): Promise<RecordedPost<T>>;
  nextPost<T>(channel: ListenableChannel<T>): Promise<RecordedPost<T>> {
    return awaitedOrNot(this.find<T>(channel));
  }

  private async find<T>(channel: ListenableChannel<T>): Promise<RecordedPost<T>> {
    const fits = fitting(channel);
    const entry = this.entries.find(({ post, isTaken }) => !isTaken && fits(post.channel));
    if (entry === undefined) {
      return new Promise((resolve, fail) => {
        if (this.ended !== undefined) fail(noMore(this.ended));
        else this.waiting.push({ fits, give: (post) => resolve(post as RecordedPost<T>), fail });
      });
    }
    entry.isTaken = true;
    return entry.post as RecordedPost<T>;
  }

  /** Forgets the posts so far. */
  clear(): void {
    this.entries = [];
  }

  /** Records no more. */
  [Symbol.dispose](): void {
    this.end('they were disposed of');
  }

  private end(why: string): void {
    this.ended ??= why;
    for (const { fail } of this.waiting.splice(0)) fail(noMore(why));
  }

  private record(
    channel: AnyPostableChannel,
    message: unknown,
    options: PostOptions | undefined,
    post: Hub['post'],
  ): Promise<boolean> {
    const name = typeof channel === 'string' ? channel : channel?.name;
    if (this.ended !== undefined || typeof name !== 'string' || isOwn(name)) {
      return post(channel, message, options);
    }
    // Before it is made: what its listeners post in turn comes later.
    const entry: Entry = { post: { channel: name, message, options: options ?? {} }, isTaken: false };
    this.entries.push(entry);
    try {
      const accepted = post(channel, message, options);
      this.offer(entry);
      return accepted;
    } catch (error) {
      this.entries = this.entries.filter((other) => other !== entry);
      throw error;
    }
  }

  private offer(entry: Entry): void {
    const index = this.waiting.findIndex(({ fits }) => fits(entry.post.channel));
    // A listener may have taken it already.
    if (index < 0 || entry.isTaken) return;
    entry.isTaken = true;
    this.waiting.splice(index, 1)[0]!.give(entry.post);
  }
}

/**
 * Records what an application posts from now on.
 *
 * @param app - an application or a testing module
 * @throws ConfigurationError for anything else
 */
export function recordPosts(app: Pick<INestApplicationContext, 'get'>): RecordedPosts {
  if (typeof (app as Partial<typeof app> | null)?.get !== 'function') {
    throw new ConfigurationError(`recordPosts(): give it an application or a testing module, not ${describe(app)}`);
  }
  return new RecordedPosts(app.get(Hub, { strict: false }));
}

function noMore(why: string): MessagingError {
  return new MessagingError('SESSION_CLOSED', `Recorded posts: ${why}`);
}

/** Whether the library itself posts there. */
function isOwn(channel: string): boolean {
  return channel.startsWith(RESERVED_PREFIX) && !isOfSource(channel);
}

/** Whether a name is that of a channel, or one of a template's. */
function fitting(channel: AnyListenableChannel): (name: string) => boolean {
  // The name of a channel has been checked.
  if (!isChannel(channel)) checkChannelName(channel);
  const wanted = isChannel(channel) ? channel.name : channel;
  if (!isTemplate(wanted)) return (name) => name === wanted;
  const segments = wanted.split('/');
  return (name) => isOfTemplate(segments, name.split('/'));
}
