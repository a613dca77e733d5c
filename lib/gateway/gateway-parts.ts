import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import type { Limits } from '../protocol/limits.js';
import type { ClientLimits } from '../sse/client-limits.js';
import type { EventStreams } from '../sse/event-streams.js';
import type { ChannelDecider } from './channel-decisions.js';

/** The parts of a gateway. */
export interface GatewayParts {
  readonly hub: Hub;
  readonly streams: EventStreams;
  readonly clients: ClientLimits;
  readonly reporter: Reporter;
  readonly channels: ChannelDecider;
  /** Called once if a client names a connection of another server although this one has no transport. */
  readonly otherServerNamed: () => void;
}

/** The settings of a gateway. */
export interface GatewaySettings {
  readonly limits: Limits;
  /** How long a change waits for the server that holds the stream, in milliseconds. */
  readonly timeoutMs: number;
  /** How long messages are kept for returning clients, in milliseconds; 0: not at all. */
  readonly recoveryMs: number;
  /** How much is kept for them, in bytes. */
  readonly recoveryBytes: number;
  /** How long a leaving node waits for its clients at most, in milliseconds; 0: not at all. */
  readonly leaveMs: number;
  /** How many requests may wait at a time: for authorizers, or for a server that has never answered. */
  readonly maxPendingRequests: number;
  /** How many questions about missed messages may be under way to another node at a time. */
  readonly maxRecoveriesAtOnce: number;
}
