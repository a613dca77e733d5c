import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** The functions that a process offers. */
// oxlint-disable-next-line typescript/no-explicit-any -- what a call takes is for each of them to say
export type Calls = Record<string, (argument: any) => unknown>;

const canPin = hasTaskset();

/** The placement of processes, for the titles of tables. */
export const PLACES = canPin
  ? 'servers on core 0, load on core 1'
  : 'servers and load wherever the system puts them, since there is no taskset';

/** A process of the bench, on a separate core if one is given and the system has `taskset`; it takes one call at a time. */
export class PinnedProcess<C extends Calls> {
  private constructor(private readonly child: ChildProcess) {}

  /**
   * Starts a file of this folder; resolves once it is ready.
   *
   * @param core - for the process; if `undefined`, the system chooses
   */
  static async start<C extends Calls>(
    file: string,
    core: 0 | 1 | undefined,
    args: readonly string[],
  ): Promise<PinnedProcess<C>> {
    const child = fork(new URL(file, import.meta.url), args, { execArgv: ['--expose-gc'] });
    if (core !== undefined) pin(child, core);
    const started = new PinnedProcess<C>(child);
    await started.answer();
    return started;
  }

  async call<Name extends keyof C & string>(
    name: Name,
    ...[argument]: Parameters<C[Name]>
  ): Promise<Awaited<ReturnType<C[Name]>>> {
    const answer = this.answer();
    this.child.send({ name, argument: argument as unknown });
    return answer as Promise<Awaited<ReturnType<C[Name]>>>;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    this.child.disconnect();
    await once(this.child, 'exit');
  }

  private async answer(): Promise<unknown> {
    const exit = new AbortController();
    const fail = () => exit.abort();
    this.child.once('exit', fail);
    try {
      const [{ answer }] = (await once(this.child, 'message', { signal: exit.signal })) as [{ answer: unknown }];
      return answer;
    } catch (error) {
      throw new Error(`${this.child.spawnargs.slice(2).join(' ')} has ended`, { cause: error });
    } finally {
      this.child.off('exit', fail);
    }
  }
}

/** Keeps a process on a core, if the system has `taskset`. */
export function pin({ pid }: Pick<ChildProcess, 'pid'>, core: 0 | 1): void {
  if (canPin) execFileSync('taskset', ['-acp', String(core), String(pid)]);
}

/** In a {@link PinnedProcess}: reports that it is ready, and answers calls. An error in one ends the process. */
export function answerCalls(calls: Calls): void {
  const answer = async ({ name, argument }: { name: string; argument: unknown }) =>
    process.send!({ answer: await calls[name]!(argument) });
  process.on('message', (call: { name: string; argument: unknown }) => void answer(call));
  process.on('disconnect', () => process.exit());
  process.send!({ answer: 'ready' });
}

function hasTaskset(): boolean {
  try {
    execFileSync('taskset', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
