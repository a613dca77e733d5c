// Clients of a server of events, in a separate process: forked with the name of the server's variant. Every client must
// receive every event exactly once, or the process fails.
import { machineClock as clock } from '../../test/support/machine-clock.js';
import type { FanoutVariant } from './fanout-servers.js';
import { LoadClient, type LoadObserver } from './load-client.js';
import { answerCalls } from './pinned-process.js';

/** The connections to a server of events. */
export interface Audience {
  readonly connections: number;
  /** How many of them do not read; left out, none. */
  readonly stalled?: number;
  /** One of this many clients checks each event, its order and its time; see {@link SAMPLED_EVERY}. */
  readonly sampledEvery?: number;
}

/** The delivery of the expected events. */
interface Received {
  /** When the last client had received the last event. */
  readonly lastAt: number;
  /** The CPU of this process for that, in milliseconds. */
  readonly cpuMs: number;
  /** The delays of each event from its post to a sample of the clients, in milliseconds. */
  readonly latencies: readonly number[];
}

const variant = process.argv[2] as FanoutVariant;
const AT_ONCE = 100;
const TIMEOUT_MS = 60_000;
/** So few that their work is not the limit. */
const SAMPLED_EVERY = 100;

class Clients implements LoadObserver {
  private readonly readers: LoadClient[] = [];
  private readonly stalled = new Set<LoadClient>();
  private target = 0;
  /** How many clients have not received everything. */
  private missing = 0;
  private latencies: number[] = [];
  private cpuBefore = process.cpuUsage();
  private lastAt = 0;
  private onComplete: (() => void) | undefined = undefined;

  /** Connects more clients. */
  async open(port: number, { connections, stalled = 0, sampledEvery = SAMPLED_EVERY }: Audience): Promise<void> {
    for (let opened = 0; opened < connections;) {
      const clients = Array.from({ length: Math.min(AT_ONCE, connections - opened) }, () => this.connect(port));
      await Promise.all(clients.map((client) => client.open()));
      opened += clients.length;
    }
    for (const client of this.readers.splice(0, stalled)) {
      client.stall();
      this.stalled.add(client);
    }
    for (let index = 0; index < this.readers.length; index += sampledEvery)
      this.readers[index]!.onSample = (at) => this.latencies.push(clock() - at);
  }

  /** Starts to wait for events. */
  expect(events: number): void {
    this.assertComplete();
    this.target += events;
    this.missing = this.readers.length;
    this.latencies = [];
    this.cpuBefore = process.cpuUsage();
  }

  /** Resolves once all clients have received the expected events. */
  async finish(): Promise<Received> {
    const timeout = setTimeout(() => this.assertComplete(), TIMEOUT_MS);
    if (this.missing > 0) await new Promise<void>((resolve) => (this.onComplete = resolve));
    clearTimeout(timeout);
    const { user, system } = process.cpuUsage(this.cpuBefore);
    return { lastAt: this.lastAt, cpuMs: (user + system) / 1000, latencies: this.latencies };
  }

  received(client: LoadClient, events: number): void {
    if (client.events > this.target) throw new Error(`a client received ${client.events} events of ${this.target}`);
    if (client.events < this.target || client.events - events === this.target) return;
    if (--this.missing > 0) return;
    this.lastAt = clock();
    this.onComplete?.();
  }

  closed(client: LoadClient): void {
    if (!this.stalled.has(client)) throw new Error(`a client was cut off after ${client.events} events`);
  }

  /** Fails unless every client has received every event, and not more. */
  private assertComplete(): void {
    const wrong = this.readers.filter(({ events }) => events !== this.target);
    if (wrong.length === 0) return;
    throw new Error(`${wrong.length} clients have not got ${this.target} events; one has ${wrong[0]!.events}`);
  }

  private connect(port: number): LoadClient {
    const client = new LoadClient(variant, port, this);
    // Sent before it came, so not expected.
    client.events = this.target;
    this.readers.push(client);
    return client;
  }
}

const clients = new Clients();
const calls = {
  open: ({ port, audience }: { port: number; audience: Audience }) => clients.open(port, audience),
  expect: (events: number) => clients.expect(events),
  finish: () => clients.finish(),
  clock,
};

/** The functions that the load offers. */
export type LoadCalls = typeof calls;

answerCalls(calls);
