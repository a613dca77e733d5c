import type { ChannelFeed } from './channel-feed.js';
import type { HistoryFeed } from './history-feed.js';

/** The feed of one channel or template for the clients of this node. */
export type ClientFeed = ChannelFeed | HistoryFeed;
