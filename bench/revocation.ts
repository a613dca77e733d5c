// How long a revocation takes until the last event of the stream that it ends, and until its call resolves: of 1,000 streams, half of them on
// the server of the call, half of them on another one, revoked one after another. All processes read one clock.
import { connect, type Socket } from 'node:net';
import type { BenchOptions } from './run.js';
import { PinnedProcess } from './support/pinned-process.js';
import { Redis } from './support/redis.js';
import type { RevocationCalls } from './support/revocation-server.js';
import { quantile } from './support/statistics.js';
import { report } from './support/table.js';

const ROUNDS = 3;
const STREAMS = 1_000;
/** How many are opened at once, because this is not measured. */
const AT_ONCE = 100;

type Node = PinnedProcess<RevocationCalls>;

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const redis = await Redis.start();
  const nodes: Node[] = [];
  const names = [
    'to the end of a stream of the same server',
    'to the end of a stream of the other server',
    'to `true` from the call',
  ] as const;
  const samples = { p50: names.map((): number[] => []), p99: names.map((): number[] => []) };
  try {
    for (const _ of [1, 2]) nodes.push(await PinnedProcess.start('revocation-server.js', undefined, [redis.url]));
    for (let round = 0; round < rounds; round++) {
      const took = await revokeAll(nodes, round);
      took.forEach((each, index) => {
        samples.p50[index]!.push(quantile(each, 0.5));
        samples.p99[index]!.push(quantile(each, 0.99));
      });
    }
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
    await redis.stop();
  }
  for (const figure of ['p50', 'p99'] as const) {
    await report({
      title: `From a revocation, of ${STREAMS}, ${figure}`,
      unit: 'ms',
      rows: names.map((name, index) => ({ name, samples: samples[figure][index]! })),
    });
  }
}

/** @returns how long each took: until its stream ended, by node, then until the call resolved. In milliseconds */
async function revokeAll(nodes: readonly Node[], round: number): Promise<number[][]> {
  const ports = await Promise.all(nodes.map((node) => node.call('port')));
  const streams: Stream[] = [];
  for (let opened = 0; opened < STREAMS; opened += AT_ONCE) {
    const some = Array.from({ length: AT_ONCE }, (_, index) => new Stream(`${round}/${opened + index}`));
    await Promise.all(some.map((stream, index) => stream.open(ports[index % ports.length]!)));
    streams.push(...some);
  }
  const took = nodes.map((): number[] => []);
  const calls: number[] = [];
  for (const [index, stream] of streams.entries()) {
    const { calledAt, tookMs } = await nodes[0]!.call('revoke', stream.userId);
    calls.push(tookMs);
    took[index % nodes.length]!.push((await stream.revoked) - calledAt);
    stream.close();
  }
  return [...took, calls];
}

/** The stream of one user. */
class Stream {
  /** The time of its last event, by the clock of the machine. */
  readonly revoked: Promise<number>;
  private socket: Socket | undefined;
  private noteRevoked!: (at: number) => void;

  constructor(readonly userId: string) {
    this.revoked = new Promise((resolve) => (this.noteRevoked = resolve));
  }

  /** Resolves when it is open. */
  open(port: number): Promise<void> {
    const socket = (this.socket = connect(port, '127.0.0.1'));
    socket.setNoDelay(true).setEncoding('latin1');
    socket.write(`GET /stream HTTP/1.1\r\nhost: bench\r\nx-user: ${this.userId}\r\naccept: text/event-stream\r\n\r\n`);
    let text = '';
    return new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.on('data', (chunk: string) => {
        text += chunk;
        if (text.includes('messaging:revoked')) this.noteRevoked(performance.timeOrigin + performance.now());
        else if (text.includes('\r\n\r\n')) resolve();
      });
    });
  }

  close(): void {
    this.socket?.destroy();
  }
}
