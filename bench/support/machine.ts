import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg, totalmem } from 'node:os';

const PACKAGES = [
  'nestjs-messaging',
  '@nestjs/core',
  '@nestjs/event-emitter',
  'express',
  'fastify',
  'rxjs',
  'autocannon',
  'better-sse',
  'socket.io',
  '@socket.io/redis-adapter',
  'ioredis',
];

/** The conditions of figures, for the head of a report. */
export function machineNow(): string {
  const [cpu] = cpus();
  return [
    `date      ${new Date().toISOString()}`,
    `machine   ${cpus().length} cores, ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}`,
    `node      ${process.version}, V8 ${process.versions.v8}`,
    `packages  ${PACKAGES.map((name) => `${name} ${versionOf(name)}`).join(', ')}`,
  ].join('\n');
}

/** Starts to watch the machine's load; call the result for a line about it. */
export function machineUse(): () => string {
  const before = cpuTimes();
  const start = performance.now();
  return () => {
    const after = cpuTimes();
    const elapsedSeconds = (performance.now() - start) / 1000;
    const busySeconds = after.busy - before.busy;
    return [
      `took ${elapsedSeconds.toFixed(0)} s, in which the machine used ${busySeconds.toFixed(0)} s of CPU;`,
      `load average at the end ${loadavg()[0]!.toFixed(2)}, stolen by the host ${(after.stolen - before.stolen).toFixed(1)} s`,
    ].join(' ');
  };
}

function cpuTimes(): { busy: number; stolen: number } {
  let busy = 0;
  for (const { times } of cpus()) busy += (times.user + times.nice + times.sys + times.irq) / 1000;
  return { busy, stolen: stolenSeconds() };
}

/** Only on Linux, in hundredths of a second: proc(5), /proc/stat. */
function stolenSeconds(): number {
  if (process.platform !== 'linux') return 0;
  const [, , , , , , , , stolen] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]!.split(/\s+/);
  return Number(stolen ?? 0) / 100;
}

function versionOf(name: string): string {
  const require = createRequire(import.meta.url);
  // Not every package exports its package.json, and express and fastify are those of Nest's adapters.
  const adapter = { express: '@nestjs/platform-express', fastify: '@nestjs/platform-fastify' }[name];
  const from = adapter === undefined ? require : createRequire(require.resolve(adapter));
  for (
    let folder = new URL('.', `file://${from.resolve(name)}`);
    folder.pathname !== '/';
    folder = new URL('..', folder)
  ) {
    try {
      const found = JSON.parse(readFileSync(new URL('package.json', folder), 'utf8')) as {
        name?: string;
        version?: string;
      };
      if (found.name === name) return found.version ?? '?';
    } catch {
      // No package.json here; it is further up.
    }
  }
  return '?';
}
