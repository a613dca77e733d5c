import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import type { Limits } from '../protocol/limits.js';
import type { ClientLimits } from '../sse/client-limits.js';
import type { EventStreams } from '../sse/event-streams.js';
import type { ChannelDecider } from './channel-decisions.js';

/** What a gateway is made of. */
export interface GatewayParts {
  readonly hub: Hub;
  readonly streams: EventStreams;
  readonly clients: ClientLimits;
  readonly reporter: Reporter;
  readonly channels: ChannelDecider;
  /** Told once that a client asked for a connection of another server, and that there is no way to those. */
  readonly otherServerNamed: () => void;
}

/** How a gateway is kept. */
export interface GatewaySettings {
  readonly limits: Limits;
  /** How long a change waits for the server that holds the stream, in milliseconds. */
  readonly timeoutMs: number;
  /** How long messages are kept for clients that come back, in milliseconds; 0: not at all. */
  readonly recoveryMs: number;
  /** How much of them, in bytes. */
  readonly recoveryBytes: number;
  /** How long this node stays at most for clients that it has sent away, in milliseconds; 0: not at all. */
  readonly leaveMs: number;
  /** How many requests may wait at a time: for authorizers, or for a server that has never answered. */
  readonly maxPendingRequests: number;
  /** How many questions about what clients have missed are on their way to another node at a time. */
  readonly maxRecoveriesAtOnce: number;
}
