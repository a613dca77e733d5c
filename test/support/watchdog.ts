import { spawn, type ChildProcess } from 'node:child_process';

/** Kills a child when this process is gone, however it ended: the input of the watchdog then ends. Also if the child is stopped. */
export function watch(child: ChildProcess): void {
  const script = `cat >/dev/null; kill -KILL ${child.pid}`;
  const watchdog = spawn('sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'] });
  watchdog.unref();
  (watchdog.stdin as unknown as { unref(): void }).unref();
  child.once('exit', () => watchdog.kill('SIGKILL'));
}
