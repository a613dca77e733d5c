import { spawn, type ChildProcess } from 'node:child_process';

/** Kills a child, even a stopped one, once this process has ended in any way: the watchdog's input then ends. */
export function watch(child: ChildProcess): void {
  const script = `cat >/dev/null; kill -KILL ${child.pid}`;
  const watchdog = spawn('sh', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'] });
  watchdog.unref();
  (watchdog.stdin as unknown as { unref(): void }).unref();
  child.once('exit', () => watchdog.kill('SIGKILL'));
}
