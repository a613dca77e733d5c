import type { Hub } from '../core/hub.js';
import { Revocations } from '../core/revocations.js';
import { Authenticator } from '../nest/authenticator.js';
import { createHub } from '../nest/create-hub.js';
import { LoggingReporter } from '../nest/logging-reporter.js';
import { MessagingService, type SessionOptions } from '../nest/messaging.service.js';
import type { SessionMessages } from '../nest/session-messages.js';
import { resolveOptions } from '../nest/validate-options.js';
import { checkMemoryOptions, memoryOptions, type MemoryMessagingOptions } from './memory-options.js';
import { RecordedPosts } from './recorded-posts.js';

/** Messaging without an application; see {@link createTestMessaging}. */
export class TestMessaging implements AsyncDisposable {
  /** For services that inject `MessagingService`. */
  readonly service: MessagingService;
  /** What has been posted, by the service and by all sessions. */
  readonly posts: RecordedPosts;

  /** @internal */
  constructor(
    private readonly hub: Hub,
    revocations: Revocations,
    authenticator: Authenticator,
  ) {
    this.service = new MessagingService(hub, revocations, authenticator);
    this.posts = new RecordedPosts(hub);
  }

  /** For services that inject `SessionMessages`; with `auth`, those of a user. See `MessagingService.openSession`. */
  openSession(options?: SessionOptions): SessionMessages {
    return this.service.openSession(options);
  }

  /** Closes all sessions, with their listeners and streams. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.close();
  }
}

/**
 * A real `MessagingService` in memory for unit tests, without an application: for services that are made by `new`. What is posted
 * is checked and delivered as anywhere. `@OnMessage` methods are not called, since no application finds them.
 *
 * @throws (rejects) ConfigurationError for wrong options
 * @example
 * ```ts
 * await using messaging = await createTestMessaging();
 * await messaging.openSession({ auth: { userId: '7' } }).postMessage(UserUpdates, new UserUpdate(7, 'Ada'));
 * expect(messaging.posts.to(UserUpdates)).toEqual([new UserUpdate(7, 'Ada')]);
 * ```
 */
export async function createTestMessaging(options: MemoryMessagingOptions = {}): Promise<TestMessaging> {
  checkMemoryOptions(options, 'createTestMessaging()');
  const resolved = resolveOptions(memoryOptions(options));
  const reporter = new LoggingReporter(resolved.onListenerError);
  const hub = await createHub(resolved, reporter);
  const revocations = new Revocations(hub);
  void revocations.start();
  await hub.start();
  hub.release([]);
  return new TestMessaging(hub, revocations, new Authenticator(reporter, resolved));
}
