import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import autocannon from 'autocannon';
import type { RequestVariant } from './request-variants.js';

/** The HTTP adapters of Nest. */
export type Adapter = 'Express' | 'Fastify';

const CONNECTIONS = 32;

/** One variant of the application, in a separate process. */
export class ServerProcess {
  private constructor(
    private readonly child: ChildProcess,
    private readonly url: string,
  ) {}

  static async start(variant: RequestVariant, adapter: Adapter): Promise<ServerProcess> {
    const child = fork(new URL('request-server.js', import.meta.url), [variant, adapter]);
    return new ServerProcess(child, `http://127.0.0.1:${await answerOf(child)}/`);
  }

  /** Sends the server this many requests; returns the microseconds of its CPU for each of them. */
  async cpuPerRequest(requests: number): Promise<number> {
    const before = await this.cpu();
    const { '2xx': answered, errors } = await autocannon({
      url: this.url,
      connections: CONNECTIONS,
      amount: requests,
      sampleInt: 25,
    });
    if (answered !== requests || errors > 0)
      throw new Error(`${this.url} answered ${answered} of ${requests}, with ${errors} errors`);
    return ((await this.cpu()) - before) / requests;
  }

  async stop(): Promise<void> {
    this.child.disconnect();
    await once(this.child, 'exit');
  }

  private async cpu(): Promise<number> {
    this.child.send('cpu');
    return answerOf(this.child);
  }
}

async function answerOf(child: ChildProcess): Promise<number> {
  const exit = new AbortController();
  const fail = () => exit.abort(new Error('a server process has ended'));
  child.once('exit', fail);
  try {
    const [answer] = (await once(child, 'message', { signal: exit.signal })) as [number];
    return answer;
  } finally {
    child.off('exit', fail);
  }
}
