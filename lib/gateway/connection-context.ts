import type { Hub } from '../core/hub.js';
import type { WorkQueue } from '../sse/work-queue.js';
import type { Admissions } from './admission.js';
import type { ChannelFeeds } from './channel-feeds.js';
import type { KnownRules } from './channel-rule.js';
import type { Grants } from './grants.js';
import type { RecentEnds } from './recent-ends.js';
import type { Recovery } from './recovery.js';
import type { Returned } from './recovery-wire.js';

/** Shared by all client connections of a node. */
export interface ConnectionContext {
  readonly hub: Hub;
  readonly feeds: ChannelFeeds;
  readonly admissions: Admissions;
  readonly grants: Grants;
  readonly rules: KnownRules;
  /** Subscriptions that the application has ended, even before they began. */
  readonly ends: RecentEnds;
  readonly recovery: Recovery;
  /** The work queue for returning clients. */
  readonly queue: WorkQueue;
  readonly heartbeatMs: number;
  readonly maxSubscriptions: number;
  /** Called with the earlier connections of a client that has come back here. */
  readonly returned: (connections: readonly Returned[]) => void;
}
