import { setTimeout } from 'node:timers/promises';
import type { Memory, Posting, ServerCalls } from './fanout-server.js';
import type { FanoutVariant } from './fanout-servers.js';
import type { Audience, LoadCalls } from './load.js';
import { PinnedProcess } from './pinned-process.js';

/** The cost of sending events to all clients that read. */
export interface Delivered {
  /** How many times an event reached a client. */
  readonly deliveries: number;
  /** From the first post until the last client has received the last event. */
  readonly elapsedMs: number;
  /** Of the server, or of both if one posts and another has the clients. */
  readonly serverCpuMs: number;
  /** The load of the clients' core; near 1, the clients were the bottleneck. */
  readonly loadShare: number;
  /** From post to client, in milliseconds, of a sample of the clients. */
  readonly latencies: readonly number[];
}

/** Above this share of its core, the load generator may be the bottleneck. */
export const BUSY_LOAD = 0.85;
// A server's work after its last event has arrived belongs to the event's cost.
const SETTLE_MS = 30;

/** A server of events and its clients, each in a separate process. */
export class Fanout {
  private readers = 0;

  private constructor(
    readonly name: FanoutVariant,
    /** Holds the connections. */
    private readonly server: PinnedProcess<ServerCalls>,
    /** The same one, unless there is a cluster. */
    private readonly poster: PinnedProcess<ServerCalls>,
    private readonly load: PinnedProcess<LoadCalls>,
  ) {}

  /**
   * @param redis - the URL of a Redis, over which another server posts the events to the server of the clients
   * @param heartbeatMs - 0: only events are sent
   */
  static async start(variant: FanoutVariant, audience: Audience, redis?: string, heartbeatMs = 0): Promise<Fanout> {
    const server = await startServer(variant, redis, heartbeatMs);
    const poster = redis === undefined ? server : await startServer(variant, redis);
    const load = await PinnedProcess.start<LoadCalls>('load.js', 1, [variant]);
    const fanout = new Fanout(variant, server, poster, load);
    await fanout.assertSameClock();
    await fanout.connect(audience);
    return fanout;
  }

  /** Connects more clients. */
  async connect(audience: Audience): Promise<void> {
    await this.load.call('open', { port: await this.server.call('port'), audience });
    this.readers += audience.connections - (audience.stalled ?? 0);
  }

  /** Posts events; resolves once every client that reads has received all of them. */
  async deliver(posting: Posting): Promise<Delivered> {
    await this.load.call('expect', posting.events);
    const cpuBefore = await this.serverCpu();
    const [start, { lastAt, cpuMs, latencies }] = await Promise.all([
      this.poster.call('post', posting),
      this.load.call('finish'),
    ]);
    await setTimeout(SETTLE_MS);
    const elapsedMs = lastAt - start;
    return {
      deliveries: posting.events * this.readers,
      elapsedMs,
      serverCpuMs: ((await this.serverCpu()) - cpuBefore) / 1000,
      loadShare: cpuMs / elapsedMs,
      latencies,
    };
  }

  memory(): Promise<Memory> {
    return this.server.call('memory');
  }

  /** Posts to a channel without clients; returns milliseconds of the server's CPU. */
  async postElsewhere(posts: number): Promise<number> {
    return (await this.server.call('postElsewhere', posts)) / 1000;
  }

  /** Milliseconds of the server's CPU in this many milliseconds without posts. */
  async idle(ms: number): Promise<number> {
    return (await this.server.call('idle', ms)) / 1000;
  }

  /** How many connections the server holds. */
  connections(): Promise<number> {
    return this.server.call('connections');
  }

  /** Ends all processes; fails if clients have received more than the posts. */
  async stop(): Promise<void> {
    await this.load.call('expect', 0);
    await this.load.stop();
    await this.server.stop();
    await this.poster.stop();
  }

  private async serverCpu(): Promise<number> {
    const cpu = await this.server.call('cpu');
    return this.poster === this.server ? cpu : cpu + (await this.poster.call('cpu'));
  }

  /** Latencies use the clocks of two processes, which must be one. */
  private async assertSameClock(): Promise<void> {
    const times = [await this.poster.call('clock'), await this.load.call('clock'), await this.poster.call('clock')];
    if (times.some((time, index) => index > 0 && time < times[index - 1]!))
      throw new Error(`the clocks of the processes differ: ${times.join(', ')}`);
  }
}

/** Starts one server of events; with the URL of a Redis, one of a cluster. */
export function startServer(
  variant: FanoutVariant,
  redis?: string,
  heartbeatMs = 0,
): Promise<PinnedProcess<ServerCalls>> {
  const args = [variant, String(heartbeatMs)];
  return PinnedProcess.start('fanout-server.js', 0, redis === undefined ? args : [...args, redis]);
}

/** Starts servers with their clients, lets `use` measure them, and ends them. */
export async function withFanouts(
  variants: readonly FanoutVariant[],
  audience: Audience,
  use: (fanouts: readonly Fanout[]) => Promise<void>,
): Promise<void> {
  const fanouts: Fanout[] = [];
  for (const variant of variants) fanouts.push(await Fanout.start(variant, audience));
  await use(fanouts);
  for (const fanout of fanouts) await fanout.stop();
}
