import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { FaultNodeNote, FaultNodeOptions, FaultNodeTask } from './fault-node.js';
import { watch } from './watchdog.js';

/** The messages of a process that runs `startFaultNode`. */
interface Word {
  readonly id?: number;
  readonly url?: string;
  readonly notes?: readonly FaultNodeNote[];
}

/** A server in a process of its own, which may be killed, stopped and told to leave. */
export class FaultProcess implements AsyncDisposable {
  private readonly ended: Promise<void>;
  hasEnded = false;
  readonly #answers = new Map<number, () => void>();
  #asked = 0;

  private constructor(
    private readonly child: ChildProcess,
    readonly name: string,
    readonly port: number,
    note: (notes: readonly FaultNodeNote[]) => void,
  ) {
    this.ended = new Promise((settle) => {
      child.once('exit', () => {
        this.hasEnded = true;
        for (const answer of this.#answers.values()) answer();
        settle();
      });
    });
    child.on('message', ({ id, notes }: Word) => {
      if (notes) note(notes);
      if (id !== undefined) this.#answers.get(id)?.();
    });
  }

  /**
   * @param code - what runs `startFaultNode` with the options in the variable FAULT_NODE
   * @param note - called with what it tells, in order
   */
  static async start(
    code: string,
    options: FaultNodeOptions,
    note: (notes: readonly FaultNodeNote[]) => void,
  ): Promise<FaultProcess> {
    const child = spawn(process.execPath, ['--input-type=module'], {
      env: { ...process.env, FAULT_NODE: JSON.stringify(options) },
      stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
    });
    watch(child);
    child.stdin!.end(code);
    const exit = once(child, 'exit').then(([status]) =>
      Promise.reject(new Error(`The server ${options.name} ended with ${status} before it was ready`)),
    );
    const [{ url }] = (await Promise.race([once(child, 'message'), exit])) as [Word];
    exit.catch(() => {});
    return new FaultProcess(child, options.name, Number(new URL(url!).port), note);
  }

  /** Resolves when it has done something, or has ended. */
  do(task: FaultNodeTask): Promise<void> {
    if (this.hasEnded) return Promise.resolve();
    const id = ++this.#asked;
    return new Promise((settle) => {
      this.#answers.set(id, () => {
        this.#answers.delete(id);
        settle();
      });
      this.child.send({ id, ...task }, () => {});
    });
  }

  /** Ends it without a word, as a crash does. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** Tells it to leave; resolves when it has. */
  async leave(): Promise<void> {
    this.child.kill('SIGTERM');
    await this.ended;
  }

  pause(): void {
    this.child.kill('SIGSTOP');
  }

  resume(): void {
    this.child.kill('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.hasEnded) await this.kill();
  }
}
