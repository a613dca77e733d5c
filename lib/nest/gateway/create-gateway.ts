import type { Hub } from '../../core/hub.js';
import { Gateway } from '../../gateway/gateway.js';
import { PROBE_MS, SILENT_HEARTBEATS } from '../../protocol/gateway.js';
import type { ClientLimits } from '../../sse/client-limits.js';
import type { EventStreams } from '../../sse/event-streams.js';
import type { LoggingReporter } from '../logging-reporter.js';
import type { ResolvedMessagingOptions } from '../messaging-options.js';
import type { ClientChannels } from './client-channels.js';
import { GATEWAY_DEFAULTS as DEFAULTS, type GatewayOptions } from './gateway-options.js';

/** How long PM2 lets a process end, unless it is told otherwise. */
const PM2_KILL_MS = 1_600;
/**
 * How long the rest of a shutdown may take, after the clients: the end of connections, and other hooks of the application. Measured under
 * PM2 on 2 cores with a load of 8 to 15: 25 to 210 ms, and up to 410 if Redis hangs.
 */
const END_MS = 500;

/** Makes the gateway of an application, by its options. */
export function createGateway(
  hub: Hub,
  streams: EventStreams,
  clients: ClientLimits,
  reporter: LoggingReporter,
  channels: ClientChannels,
  { limits, sse: { heartbeatMs }, leaveMs: usualLeaveMs = leaveMsFor(process.env) }: ResolvedMessagingOptions,
  {
    timeoutMs = DEFAULTS.timeoutMs,
    recoveryMs = DEFAULTS.recoveryMs,
    recoveryBytes = DEFAULTS.recoveryBytes,
    leaveMs = usualLeaveMs,
    maxPendingRequests = DEFAULTS.maxPendingRequests,
    maxRecoveriesAtOnce = DEFAULTS.maxRecoveriesAtOnce,
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
export function leaveMsFor({ pm_id: isPm2, kill_timeout }: NodeJS.ProcessEnv): number {
  if (isPm2 === undefined) return DEFAULTS.leaveMs;
  const killMs = Number(kill_timeout) || PM2_KILL_MS;
  return Math.min(DEFAULTS.leaveMs, Math.max(killMs - END_MS, Math.ceil(killMs / 2)));
}
