import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { NodeTask } from './redis-node.js';
import type { Case } from './table.js';

/** A case that passes messages between its own two nodes. */
export interface NodesCase extends Case {
  readonly nodes: TwoNodes;
}

/** A poster and a listener. */
export class TwoNodes {
  private constructor(
    private readonly poster: ChildProcess,
    private readonly listener: ChildProcess,
  ) {}

  /** @param broker - between them */
  static async start(variant: string, broker: { readonly url: string }): Promise<TwoNodes> {
    const node = async (role: string): Promise<ChildProcess> => {
      const child = fork(new URL('redis-node.js', import.meta.url), [variant, role, broker.url]);
      await once(child, 'message');
      return child;
    };
    return new TwoNodes(await node('poster'), await node('listener'));
  }

  /** Passes messages from one to the other; returns microseconds. */
  async pass(task: NodeTask): Promise<{ time: number; cpu: number }> {
    this.listener.send(task);
    await once(this.listener, 'message');
    const start = performance.now();
    const posted = once(this.poster, 'message') as Promise<[number]>;
    const received = once(this.listener, 'message') as Promise<[number]>;
    this.poster.send(task);
    const [[posting], [receiving]] = await Promise.all([posted, received]);
    return { time: (performance.now() - start) * 1_000, cpu: posting + receiving };
  }

  async stop(): Promise<void> {
    for (const child of [this.poster, this.listener]) {
      child.disconnect();
      await once(child, 'exit');
    }
  }
}
