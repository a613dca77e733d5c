import type { ChildProcess } from 'node:child_process';

const children = new Set<ChildProcess>();
let isWatching = false;

/** Ends a process together with this one, also if this one is interrupted: of programs that do not notice it by themselves. */
export function endsWithUs(child: ChildProcess): void {
  if (!isWatching) process.on('exit', endAll);
  isWatching = true;
  children.add(child);
  child.once('exit', () => children.delete(child));
}

function endAll(): void {
  for (const child of children) child.kill();
}
