// Clients that join a channel all at once, in a process of their own.
import { machineClock } from '../../test/support/machine-clock.js';
import { answerCalls } from './pinned-process.js';
import { StormClient } from './storm-client.js';

/** Who joins what. */
interface Herd {
  readonly port: number;
  readonly clients: number;
  readonly channel: string;
  readonly replay: number;
}

let clients: StormClient[] = [];

const calls = { join, cut };

/** What such a process can be called for. */
export type HerdCalls = typeof calls;

answerCalls(calls);

/** @returns when the last of them had all that it asked for, by the clock of the machine, and how many messages came in all */
async function join({ port, clients: count, channel, replay }: Herd): Promise<{ doneAt: number; messages: number }> {
  clients = Array.from({ length: count }, () => new StormClient(channel, replay));
  await Promise.all(clients.map((client) => client.open(port)));
  return { doneAt: machineClock(), messages: clients.reduce((sum, { missed }) => sum + missed, 0) };
}

function cut(): void {
  for (const client of clients) client.cut();
  clients = [];
}
