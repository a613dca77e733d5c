import { openSync, readSync } from 'node:fs';

/**
 * The CPU time of the first thread of this process, without other threads and programs. Linux reports it; Node has
 * `process.threadCpuUsage()` only from version 23.9 on. On systems other than Linux, all threads count.
 */
export class ThreadClock {
  private readonly buffer = Buffer.alloc(100);
  private readonly file = process.platform === 'linux' ? openSync('/proc/self/schedstat', 'r') : undefined;

  /** In milliseconds. */
  now(): number {
    if (this.file === undefined) {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1_000;
    }
    const length = readSync(this.file, this.buffer, 0, this.buffer.length, 0);
    return Number.parseInt(this.buffer.toString('latin1', 0, length), 10) / 1e6;
  }
}
