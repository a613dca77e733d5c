import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { FloodCalls, FloodRole, FloodServerOptions } from './flood-roles.js';

/** Starts a process that runs `runFloodRole`, with this in the variable FLOOD. */
export type Spawn = (flood: string) => ChildProcess;

/** A server, good clients of one, or a flood, in a process of its own. */
export class FloodProcess<Role extends FloodRole> implements AsyncDisposable {
  private asked = 0;

  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  static async start<Role extends FloodRole>(
    spawn: Spawn,
    role: Role,
    options?: FloodServerOptions,
  ): Promise<FloodProcess<Role>> {
    const child = spawn(JSON.stringify({ role, options }));
    const [{ url }] = (await orEnd(child, once(child, 'message'))) as [{ url: string }];
    return new FloodProcess(child, url);
  }

  async call<Name extends keyof FloodCalls[Role] & string>(
    call: Name,
    ...[given]: FloodCalls[Role][Name] extends (...args: infer Args) => unknown ? Args : never
  ): Promise<FloodCalls[Role][Name] extends (...args: never) => Promise<infer Answer> ? Answer : never> {
    const id = ++this.asked;
    const answered = new Promise<unknown>((resolve) => {
      const take = (message: { id: number; answer: unknown }): void => {
        if (message.id !== id) return;
        this.child.off('message', take);
        resolve(message.answer);
      };
      this.child.on('message', take);
    });
    this.child.send({ id, call, with: given });
    return (await orEnd(this.child, answered)) as never;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}

/** @throws (rejects) if the process ends before */
async function orEnd<T>(child: ChildProcess, promise: Promise<T>): Promise<T> {
  const over = new AbortController();
  const ended = once(child, 'exit', { signal: over.signal }).then(([status]) => {
    throw new Error(`A process of the flood has ended with ${status}`);
  });
  try {
    return (await Promise.race([promise, ended])) as T;
  } finally {
    ended.catch(() => {});
    over.abort();
  }
}
