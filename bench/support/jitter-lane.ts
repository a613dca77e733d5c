// Three servers with a Redis and clients that go through a schedule of faults, in a process of its own: what the checker of one
// world takes must not hold up the clients of another one.
import type { RunReport } from '../../test/support/fault-report.js';
import type { RunOptions } from '../../test/support/fault-run.js';
import type { Schedule } from '../../test/support/fault-schedule.js';
import { FaultWorld } from '../../test/support/fault-world.js';
import { answerCalls } from './pinned-process.js';

/** A schedule, and the readers that go through it. */
export interface LaneTask {
  readonly schedule: Schedule;
  readonly options: RunOptions;
}

const node = new URL('../../test/support/fault-node.js', import.meta.url);
const code = `import { startFaultNode } from '${node.href}'; await startFaultNode(JSON.parse(process.env.FAULT_NODE));`;

const calls = { go };

/** What such a process can be called for. */
export type LaneCalls = typeof calls;

answerCalls(calls);

async function go({ schedule, options }: LaneTask): Promise<RunReport> {
  await using world = await FaultWorld.start({ code, heartbeatMs: 15_000, recoveryMs: 60_000 });
  return await world.go(schedule, options);
}
