import type { ChannelFeed } from './channel-feed.js';
import type { HistoryFeed } from './history-feed.js';

/** What clients of this node get of one channel or template. */
export type ClientFeed = ChannelFeed | HistoryFeed;
