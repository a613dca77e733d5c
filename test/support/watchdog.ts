import { spawn, type ChildProcess } from 'node:child_process';

/** Kills a process when this one is gone, however it went: its input then ends. */
export function watch(pid: number): ChildProcess {
  const watchdog = spawn('sh', ['-c', `cat >/dev/null; kill -KILL ${pid}`], { stdio: ['pipe', 'ignore', 'ignore'] });
  watchdog.unref();
  (watchdog.stdin as unknown as { unref(): void }).unref();
  return watchdog;
}
