import type { Hub } from '../../core/hub.js';
import { fromOtherServerCopy } from '../../core/server-copy.js';
import { describe } from '../../protocol/channel-name.js';
import { ConfigurationError } from '../../protocol/errors.js';
import { MessagingService } from '../messaging.service.js';

/**
 * The hub behind the one messaging object that applications know, so that they need not know the hub.
 *
 * @param user - what needs it, for the error
 * @throws ConfigurationError for anything else
 */
export function hubOf(messaging: unknown, user: string): Hub {
  if (!(messaging instanceof MessagingService)) {
    const problem = fromOtherServerCopy(messaging);
    throw new ConfigurationError(
      problem ??
        `${user} takes the MessagingService of the application, as app.get(MessagingService) gives it, not ${describe(messaging)}`,
    );
  }
  // Protected, since it is nobody's business outside of the library; in brackets TypeScript lets it pass.
  return messaging['hub'];
}
