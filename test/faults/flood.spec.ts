import { spawn } from 'node:child_process';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { ADAPTER_NAMES, type AdapterName } from '../support/apps.js';
import { bundleProgram, PROGRAM_ROOT } from '../support/bundled-program.js';
import { FloodProcess, type Spawn } from '../support/flood-process.js';

const GOOD = 100;
const SLOW = 150;
const CONNECTS = 1_500;
const ADDRESSES = 5;
const PER_ADDRESS = 100;

let bundle: Promise<string> | undefined;

describe.each(ADAPTER_NAMES)('Beside a flood on %s', (adapter: AdapterName) => {
  let start: Spawn;
  beforeAll(async () => {
    bundle ??= bundleProgram(`import { runFloodRole } from './flood-roles.ts'; await runFloodRole();`);
    const code = await bundle;
    start = (flood) => {
      const child = spawn(process.execPath, ['--input-type=module'], {
        cwd: PROGRAM_ROOT,
        env: { ...process.env, FLOOD: flood },
        stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
      });
      child.stdin!.end(code);
      return child;
    };
  });

  test('of connects, and of readers that do not read, good clients lose nothing and stay connected', async () => {
    const limits = { maxConnectionsPerAddress: PER_ADDRESS, maxOpensPerSecondPerAddress: 5 };
    await using server = await FloodProcess.start(start, 'server', { adapter, limits });
    await using clients = await FloodProcess.start(start, 'clients');
    await using flood = await FloodProcess.start(start, 'flood');
    const { url } = server;
    expect(await clients.call('open', { url, count: GOOD })).toBe(GOOD);
    expect(await flood.call('stall', { url, count: SLOW })).toBe(SLOW);
    const [statuses, until] = await Promise.all([
      flood.call('connect', { url, count: CONNECTS, atOnce: 100, addresses: ADDRESSES }),
      server.call('post', { count: 100, everyMs: 20, bulkBytes: 80_000 }),
    ]);
    const { connections } = await server.call('state');
    expect(connections).toBeLessThanOrEqual(GOOD + SLOW + ADDRESSES * PER_ADDRESS);
    expect(statuses['429']).toBeGreaterThan(300);
    expect(Object.keys(statuses).every((status) => ['200', '404', '429'].includes(status))).toBe(true);
    expect(await clients.call('report', { until })).toMatchObject({
      missing: 0,
      repeated: 0,
      cutOff: 0,
      gaps: 0,
      received: until * GOOD,
    });
    // Connections that do not read are.
    expect(await flood.call('cutOff')).toBe(SLOW);
  }, 60_000);
});
