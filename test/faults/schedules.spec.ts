import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { bundleProgram, type Damage } from '../support/bundled-program.js';
import { describeReport, summaryOf, type RunReport } from '../support/fault-report.js';
import { lateScheduleOf, scheduleOf, type Fault, type FaultKind, type Schedule } from '../support/fault-schedule.js';
import { FaultWorld } from '../support/fault-world.js';
import type { Finding } from '../support/ledger.js';

// Real servers, a real Redis and real clients go through faults that a seed draws, and a checker follows every message.
// FAULT_SEED repeats one schedule, or begins with another; FAULT_SCHEDULES runs more of them, FAULT_WORLDS more at a time.

const FIRST_SEED = Number(process.env['FAULT_SEED'] ?? 1);
const SCHEDULES = Number(process.env['FAULT_SCHEDULES'] ?? (process.env['FAULT_SEED'] === undefined ? 100 : 1));
const WORLDS = Math.min(SCHEDULES, Number(process.env['FAULT_WORLDS'] ?? 4));

/** Schedules of late posts. */
const LATE_SCHEDULES = Math.ceil(SCHEDULES / 12);

/** Of this process; servers that starve too are taken for deaf by then. */
const MOST_STALL_MS = 1_000;

/** Whether it may come of a machine that stands still: a server hears no beat in time, or a client is not back in time. */
function isOfTime(kind: Finding['kind']): boolean {
  return kind === 'false gap' || kind === 'needless loss' || kind === 'absent';
}

/** What is wrong with servers, and what the checker of channels with history must find then, by whom. */
const DAMAGES: readonly { what: string; damage: Damage; kind: Finding['kind']; by: RegExp }[] = [
  {
    what: 'holes are not filled',
    damage: {
      file: 'core/ordered-channel.ts',
      from: 'for (const { offset, payload } of entries)',
      to: 'for (const { offset, payload } of entries.slice(0, 0))',
    },
    kind: 'lost',
    by: /^node/,
  },
  {
    what: 'a post is appended again at each try',
    damage: {
      file: 'transport/redis-history-appends.ts',
      from: '      number,\n      before === undefined',
      // No other batch must come before it, or Redis would refuse it.
      to: '++this.number, before === before',
    },
    kind: 'doubled',
    by: /^everybody/,
  },
  {
    what: 'a gateway leaves messages out',
    damage: {
      file: 'gateway/history-feed.ts',
      from: 'return body.frame;',
      to: 'return position !== undefined && position.offset % 40 === 0 ? undefined : body.frame;',
    },
    kind: 'lost',
    by: /^client/,
  },
];

const PROGRAM = `
  import { startFaultNode } from './fault-node.ts';
  await startFaultNode(JSON.parse(process.env.FAULT_NODE));`;

function seedsOf(count: number): number[] {
  return Array.from({ length: count }, (_, index) => FIRST_SEED + index);
}

describe('Three servers with a Redis, and clients that move between them', () => {
  let worlds: FaultWorld[] = [];

  beforeAll(async () => {
    const code = await bundleProgram(PROGRAM);
    worlds = await Promise.all(Array.from({ length: WORLDS }, () => FaultWorld.start({ code })));
  }, 120_000);

  afterAll(async () => {
    await Promise.all(worlds.map((world) => world[Symbol.asyncDispose]()));
  });

  async function follow(
    seeds: number[],
    drawn: (seed: number) => Schedule,
  ): Promise<{ failures: string; areTooManyUnjudged: boolean }> {
    const count = seeds.length;
    const reports: RunReport[] = [];
    const failures: string[] = [];
    let unjudged = 0;
    await Promise.all(
      worlds.map(async (world) => {
        for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
          const schedule = drawn(seed);
          let report = await world.go(schedule);
          // No promise holds on a machine that stands still for longer than what is waited for.
          for (let again = 0; again < 2 && report.findings.length > 0 && report.stallMs > MOST_STALL_MS; again++)
            report = await world.go(schedule);
          reports.push(report);
          if (report.findings.length === 0) continue;
          // What was lost, doubled or disordered is wrong on any machine.
          const isExcused = report.stallMs > MOST_STALL_MS && report.findings.every(({ kind }) => isOfTime(kind));
          if (isExcused) unjudged++;
          else failures.push(describeReport(report, schedule));
        }
      }),
    );
    console.log(summaryOf(reports));
    if (unjudged > 0) console.log(`${unjudged} schedules were not judged: the machine stood still`);
    return { failures: failures.join('\n\n'), areTooManyUnjudged: unjudged > count / 4 };
  }

  test(`give every reader each message in order and once, or one gap, in ${SCHEDULES} schedules of faults`, async () => {
    expect(await follow(seedsOf(SCHEDULES), scheduleOf)).toEqual({ failures: '', areTooManyUnjudged: false });
  }, 1_200_000);

  test('give no reader a message twice or behind a later one if Redis gets posts of connections that servers have given up', async () => {
    expect(await follow(seedsOf(LATE_SCHEDULES), lateScheduleOf)).toEqual({ failures: '', areTooManyUnjudged: false });
  }, 300_000);

  test('would be found if no loss were reported', async () => {
    const kind: FaultKind = 'link-cut';
    const faults = [0, 1, 2].map((target): Fault => ({
      kind,
      atMs: 200 + target * 1_500,
      forMs: 800,
      target,
      way: 'both',
      connection: undefined,
    }));
    const run = (isDeafToGaps: boolean) =>
      worlds[0]!.go(
        { seed: FIRST_SEED, faults },
        {
          everyMs: { busy: 25 },
          clients: [['busy'], ['*']],
          natives: [['busy']],
          streams: [],
          reloads: [],
          isDeafToGaps,
        },
      );
    expect((await run(false)).findings).toEqual([]);
    const { findings, counts } = await run(true);
    const lost = findings.filter((finding) => finding.kind === 'lost').map(({ reader }) => reader.split(' ')[0]);
    expect(new Set(lost)).toEqual(new Set(['node', 'client', 'native']));
    expect(new Set(findings.map(({ reader }) => reader)).size).toBe(6);
    expect(counts.gaps).toBe(0);
  }, 120_000);

  test('would be found if holes were not filled, posts were appended at each try, or messages were left out', async () => {
    const fault = { kind: 'link-cut', forMs: 300, way: 'both', connection: undefined } as const;
    const cuts = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((nth): Fault => ({
      ...fault,
      target: nth % 3,
      atMs: 300 + nth * 400,
    }));
    // Answers are on their way for so long that many are cut off.
    const delays = [0, 1, 2].map((target): Fault => ({ ...fault, kind: 'link-delay', target, atMs: 0, forMs: 4_000 }));
    const schedule = { seed: FIRST_SEED, faults: [...delays, ...cuts] };
    const options = {
      everyMs: { kept: 25 },
      clients: [['kept'], ['kept']],
      natives: [['kept']],
      streams: ['kept'],
      reloads: [1],
    };
    const [sound, ...damaged] = await Promise.all([
      worlds[0]!.go(schedule, options),
      ...DAMAGES.map(async ({ damage, kind, by }) => {
        await using world = await FaultWorld.start({ code: await bundleProgram(PROGRAM, damage) });
        // Whether an answer is cut off is a matter of milliseconds.
        for (let tries = 1; ; tries++) {
          const { findings } = await world.go({ ...schedule, seed: FIRST_SEED + tries }, options);
          const found = findings.filter((finding) => finding.kind === kind && by.test(finding.reader));
          if (found.length > 0 || tries === 9) return { found, all: findings.length };
        }
      }),
    ]);
    expect(sound.findings).toEqual([]);
    for (const [index, { what }] of DAMAGES.entries()) {
      const { found, all } = damaged[index]!;
      console.log(`${what}: ${all} findings, such as ${JSON.stringify(found[0])}`);
      expect(found.length).toBeGreaterThan(0);
    }
  }, 120_000);
});
