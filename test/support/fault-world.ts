import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflictOnRedis } from './fault-acts.js';
import type { FaultNodeRedis } from './fault-node.js';
import { FaultProcess } from './fault-process.js';
import type { RunReport } from './fault-report.js';
import type { Inflicted } from './fault-causes.js';
import { Run, type RunOptions, type RunWorld, type Slot } from './fault-run.js';
import { isWipe, type Fault, type Schedule } from './fault-schedule.js';
import { RedisServer } from './redis-server.js';
import { TcpProxy } from '../../lib/testing/tcp-proxy.js';

export interface FaultWorldOptions {
  /** The program of a node: runs `startFaultNode` with the options in the variable FAULT_NODE. */
  readonly code: string;
  readonly heartbeatMs?: number;
  readonly recoveryMs?: number;
  /** Instead of a single Redis behind a proxy for each server. */
  readonly broker?: FaultBroker;
}

/** Redis, as servers and faults find it. */
export interface FaultBroker extends AsyncDisposable {
  readonly redis: FaultNodeRedis;
  /** Resolves when the fault is over. */
  inflict(fault: Fault): Promise<void>;
}

const NODES = 3;

/** Three servers with a Redis, each in a process of its own, that go through schedules of faults. */
export class FaultWorld implements AsyncDisposable, RunWorld {
  private run: Run | undefined = undefined;
  private inflicted: readonly Inflicted[] = [];
  wasWiped = false;

  private constructor(
    private readonly options: Required<Omit<FaultWorldOptions, 'broker'>>,
    private readonly broker: FaultBroker,
    readonly slots: Slot[],
  ) {}

  static async start(options: FaultWorldOptions): Promise<FaultWorld> {
    const { heartbeatMs = 1_000, recoveryMs = 30_000, code, broker = await SingleRedis.start() } = options;
    const world = new FaultWorld({ heartbeatMs, recoveryMs, code }, broker, []);
    try {
      await Promise.all(
        Array.from({ length: NODES }, async (_, index) => {
          // Nodes go past it to a Cluster, or to the Redis that Sentinels name.
          const link = await TcpProxy.start('port' in broker.redis ? broker.redis.port : 1);
          const slot: Slot = {
            index,
            link,
            process: undefined as never,
            incarnation: 0,
            isUp: true,
            free: Promise.resolve(),
          };
          world.slots[index] = slot;
          await world.startProcess(slot);
        }),
      );
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
    return world;
  }

  /** Goes through a schedule, one at a time, and checks what every reader was given. */
  async go(schedule: Schedule, options: RunOptions = {}): Promise<RunReport> {
    const run = new Run(this, schedule, options, this.inflicted);
    this.run = run;
    try {
      return await run.go();
    } finally {
      this.inflicted = run.inflicted;
      this.wasWiped ||= run.inflicted.some(({ fault: { kind } }) => isWipe(kind));
      this.run = undefined;
    }
  }

  async startProcess(slot: Slot): Promise<void> {
    const name = `${slot.index}.${++slot.incarnation}`;
    const { heartbeatMs, recoveryMs, code } = this.options;
    const { redis } = this.broker;
    slot.process = await FaultProcess.start(
      code,
      {
        name,
        redis: 'port' in redis ? { ...redis, port: slot.link.port } : redis,
        adapter: slot.index % 2 === 0 ? 'Express' : 'Fastify',
        heartbeatMs,
        recoveryMs,
      },
      (notes) => notes.forEach((note) => this.run?.note(name, note)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.slots.map(async ({ process, link }) => {
        await process?.[Symbol.asyncDispose]();
        await link[Symbol.asyncDispose]();
      }),
    );
    await this.broker[Symbol.asyncDispose]();
  }

  inflictOnRedis(fault: Fault): Promise<void> {
    return this.broker.inflict(fault);
  }
}

/** One Redis that keeps on disk what it has. */
class SingleRedis implements FaultBroker {
  private constructor(
    private readonly dir: string,
    private readonly server: RedisServer,
  ) {}

  static async start(): Promise<SingleRedis> {
    const dir = await mkdtemp(join(tmpdir(), 'fault-world-'));
    return new SingleRedis(dir, await RedisServer.start({ dir, args: ['--busy-reply-threshold', '100'] }));
  }

  get redis() {
    return { host: '127.0.0.1', port: this.server.port };
  }

  inflict(fault: Fault): Promise<void> {
    return inflictOnRedis(this.server, fault);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true });
  }
}
