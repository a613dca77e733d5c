import { describe, expect, test } from '@jest/globals';
import { bundleProgram } from '../support/bundled-program.js';
import { ClusterBroker, SentinelBroker } from '../support/fault-brokers.js';
import { describeReport, summaryOf, type RunReport } from '../support/fault-report.js';
import { partOf, scheduleOf, type Fault, type FaultKind, type Schedule } from '../support/fault-schedule.js';
import type { RunOptions } from '../support/fault-run.js';
import { FaultWorld, type FaultBroker } from '../support/fault-world.js';

// The same as schedules.spec.ts, with other brokers than a single Redis; each schedule has a broker of its own.

const FIRST_SEED = Number(process.env['FAULT_SEED'] ?? 1);
const SCHEDULES = Number(process.env['FAULT_SCHEDULES'] ?? (process.env['FAULT_SEED'] === undefined ? 2 : 1));
const AT_ONCE = 4;

/** Of this process. */
const MOST_STALL_MS = 1_000;

const PROGRAM = `
  import { startFaultNode } from './fault-node.ts';
  await startFaultNode(JSON.parse(process.env.FAULT_NODE));`;

const RUN = {
  everyMs: { kept: 50, 'kept/calm': 200 },
  clients: [['kept'], ['kept', 'kept/calm'], ['kept/calm']],
  natives: [['kept'], ['kept', 'kept/calm']],
  streams: ['kept'],
  reloads: [1],
};

/** What befalls the broker, amid what befalls servers and clients. */
function scheduleWith(kind: FaultKind, atMs: readonly number[], seed: number): Schedule {
  const { faults } = scheduleOf(seed);
  const others = faults.filter((fault) => ['node', 'client'].includes(partOf(fault.kind)));
  const own = atMs.map((each): Fault => ({
    kind,
    atMs: each,
    forMs: 0,
    target: 0,
    way: 'both',
    connection: undefined,
  }));
  return { seed, faults: [...others, ...own].toSorted((a, b) => a.atMs - b.atMs) };
}

// Ports that are free for one broker would be free for another one too.
let lastStart = Promise.resolve<unknown>(undefined);

async function go(
  start: () => Promise<FaultBroker>,
  kind: FaultKind,
  atMs: readonly number[],
  run: RunOptions = RUN,
  seeds = Array.from({ length: SCHEDULES }, (_, index) => FIRST_SEED + index),
): Promise<string> {
  const code = await bundleProgram(PROGRAM);
  const reports: RunReport[] = [];
  const failures: string[] = [];
  let again = 0;
  const startBroker = (): Promise<FaultBroker> => {
    const started = lastStart.then(start);
    lastStart = started.catch(() => undefined);
    return started;
  };
  const work = async (): Promise<void> => {
    for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
      const schedule = scheduleWith(kind, atMs, seed);
      await using world = await FaultWorld.start({ code, broker: await startBroker() });
      const report = await world.go(schedule, run);
      reports.push(report);
      if (report.findings.length === 0) continue;
      // No promise holds on a machine that stands still for longer than what is waited for.
      if (report.stallMs > MOST_STALL_MS && again++ < 4) seeds.push(seed);
      else failures.push(describeReport(report, schedule));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  console.log(summaryOf(reports));
  return failures.join('\n\n');
}

describe('Channels with history', () => {
  test(`lose nothing and have no gap in ${SCHEDULES} schedules with a planned failover by a Sentinel`, async () => {
    expect(await go(() => SentinelBroker.start(), 'redis-failover', [2_000])).toBe('');
  }, 300_000);

  test(`lose nothing but the tail that no replica had in ${SCHEDULES} schedules in which a master is killed`, async () => {
    expect(await go(() => SentinelBroker.start(), 'redis-crash', [2_000])).toBe('');
  }, 300_000);

  test(`lose nothing but the tail that no replica had in ${SCHEDULES} schedules in which a member of a Cluster is killed`, async () => {
    expect(await go(() => ClusterBroker.startWithReplicas(), 'redis-crash', [2_000])).toBe('');
  }, 300_000);

  test(`lose nothing and have no gap in ${SCHEDULES} schedules in which the slots of a Cluster move`, async () => {
    expect(await go(() => ClusterBroker.start(), 'redis-reshard', [1_500, 3_500])).toBe('');
  }, 300_000);
});

test('Channels of a Cluster that shards them tell each loss and no other, and lose nothing with a history, while slots move and while a member is killed', async () => {
  const run = {
    everyMs: { ...RUN.everyMs, busy: 50, calm: 150 },
    clients: [
      ['kept', 'busy'],
      ['kept', 'kept/calm'],
      ['*', 'kept/*', 'calm'],
    ],
    natives: [['busy'], ['kept', 'kept/calm', 'calm']],
    streams: ['kept'],
    reloads: [1],
  };
  const seeds = [FIRST_SEED, FIRST_SEED + 1];
  const failures = await Promise.all([
    go(() => ClusterBroker.start(true), 'redis-reshard', [1_500, 3_500], run, seeds.slice(0, 1)),
    go(() => ClusterBroker.startWithReplicas(true), 'redis-crash', [2_000], run, seeds.slice(1)),
  ]);
  expect(failures).toEqual(['', '']);
}, 300_000);
