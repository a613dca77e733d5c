import type { Hub } from '../../core/hub.js';
import { Gateway } from '../../gateway/gateway.js';
import { PROBE_MS, SILENT_HEARTBEATS } from '../../protocol/gateway.js';
import type { ClientLimits } from '../../sse/client-limits.js';
import type { EventStreams } from '../../sse/event-streams.js';
import type { LoggingReporter } from '../logging-reporter.js';
import type { ResolvedMessagingOptions } from '../messaging-options.js';
import type { ClientChannels } from './client-channels.js';
import type { GatewayOptions } from './gateway-options.js';

const TIMEOUT_MS = 5_000;
const RECOVERY_MS = 60_000;
const RECOVERY_BYTES = 16 * 1024 * 1024;
const LEAVE_MS = 8_000;
/** How long PM2 lets a process end, unless it is told otherwise. */
const PM2_KILL_MS = 1_600;
const MAX_PENDING_REQUESTS = 1_000;
const MAX_RECOVERIES_AT_ONCE = 4;

/** Makes the gateway of an application, by its options. */
export function createGateway(
  hub: Hub,
  streams: EventStreams,
  clients: ClientLimits,
  reporter: LoggingReporter,
  channels: ClientChannels,
  { limits, sse: { heartbeatMs }, leaveMs: usualLeaveMs = leaveMsFor(process.env) }: ResolvedMessagingOptions,
  {
    timeoutMs = TIMEOUT_MS,
    recoveryMs = RECOVERY_MS,
    recoveryBytes = RECOVERY_BYTES,
    leaveMs = usualLeaveMs,
    maxPendingRequests = MAX_PENDING_REQUESTS,
    maxRecoveriesAtOnce = MAX_RECOVERIES_AT_ONCE,
  }: GatewayOptions,
): Gateway {
  const noticedAfterMs = Math.ceil(heartbeatMs * SILENT_HEARTBEATS) + PROBE_MS;
  if (recoveryMs > 0 && heartbeatMs > 0 && recoveryMs < noticedAfterMs) {
    reporter.warn(
      'recoveryMs',
      `gateway.recoveryMs is ${recoveryMs}, but with sse.heartbeatMs ${heartbeatMs} a client notices a dead connection after up to ` +
        `${noticedAfterMs} ms: what it has missed by then may be forgotten. Make gateway.recoveryMs longer than that, or ` +
        'sse.heartbeatMs shorter',
    );
  }
  const otherServerNamed = (): void =>
    reporter.warn(
      'other process',
      'A client asked this process to change a stream of another process, which cannot be reached without the option ' +
        '"redis". If several processes serve this application (node:cluster, PM2, replicas), they need it: without it, ' +
        'messages reach only some clients, and changes break streams off. After a restart this is told once, too, and is harmless',
    );
  return new Gateway(
    { hub, streams, clients, reporter, channels, otherServerNamed },
    { limits, timeoutMs, recoveryMs, recoveryBytes, leaveMs, maxPendingRequests, maxRecoveriesAtOnce },
  );
}

/** A process must be gone before its manager kills it. Its clients then come back sooner, too. */
export function leaveMsFor({ pm_id: isPm2, kill_timeout: killMs }: NodeJS.ProcessEnv): number {
  return isPm2 === undefined ? LEAVE_MS : Math.min(LEAVE_MS, Number(killMs) || PM2_KILL_MS);
}
