import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { AdapterName } from './apps.js';
import { bundleProgram, PROGRAM_ROOT } from './bundled-program.js';
import type { HostileServerState, MeasuredServerState } from './hostile-server.js';

const PROGRAM = `
  import { startHostileServer } from './hostile-server.ts';
  console.log(await startHostileServer(JSON.parse(process.env.SERVER_OPTIONS)));`;

const PATIENCE_MS = 20_000;

let bundle: Promise<string> | undefined;

/** A server whose every function fails, in a separate process, so that a crash ends only that. */
export class HostileProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answers = new Map<number, (answer: unknown) => void>();
  #asked = 0;
  /** How the process ended, once it has. */
  end: string | undefined;

  private constructor(
    child: ChildProcess,
    readonly name: AdapterName,
    readonly url: string,
  ) {
    this.#child = child;
    child.on('message', ({ id, answer }: { id: number; answer: unknown }) => {
      this.#answers.get(id)?.(answer);
      this.#answers.delete(id);
    });
    child.once('exit', (code, signal) => {
      this.end = `The ${name} server has ended (${signal ?? `exit code ${code}`})`;
      for (const settle of this.#answers.values()) settle(undefined);
    });
  }

  /** @param run - marks the messages of the good channel that count */
  static async start(name: AdapterName, redis: string, run: string): Promise<HostileProcess> {
    const code = await (bundle ??= bundleProgram(PROGRAM));
    const child = spawn(process.execPath, ['--expose-gc', '--input-type=module'], {
      cwd: PROGRAM_ROOT,
      env: { ...process.env, RUN: run, SERVER_OPTIONS: JSON.stringify({ adapter: name, redis }) },
      stdio: ['pipe', 'pipe', 'inherit', 'ipc'],
    });
    child.stdin!.end(code);
    const [url] = (await Promise.race([
      once(createInterface(child.stdout!), 'line'),
      once(child, 'exit').then(([status]) => Promise.reject(new Error(`The ${name} server ended with ${status}`))),
    ])) as [string];
    return new HostileProcess(child, name, url);
  }

  /** The id of the server among those of its Redis. */
  node(): Promise<string> {
    return this.#ask('node');
  }

  state(): Promise<HostileServerState> {
    return this.#ask('state');
  }

  /** With its data in memory. */
  measure(): Promise<MeasuredServerState> {
    return this.#ask('heap');
  }

  /** @throws (rejects) if it does not close in order */
  async close(): Promise<void> {
    await this.#ask('close');
    this.#child.disconnect();
    await once(this.#child, 'exit');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #ask<Answer>(ask: 'node' | 'state' | 'heap' | 'close'): Promise<Answer> {
    if (this.end !== undefined) throw new Error(this.end);
    const id = ++this.#asked;
    let settle!: (answer: unknown) => void;
    const answer = new Promise<unknown>((resolve) => (settle = resolve));
    this.#answers.set(id, settle);
    this.#child.send({ id, ask });
    const timer = setTimeout(() => {
      this.#answers.delete(id);
      settle(new Error(`The ${this.name} server does not answer: its event loop is blocked`));
    }, PATIENCE_MS);
    const result = await answer;
    clearTimeout(timer);
    if (result instanceof Error) throw result;
    if (result === undefined) throw new Error(this.end);
    return result as Answer;
  }
}
