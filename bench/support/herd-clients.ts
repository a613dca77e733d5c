// Clients that join a channel at once or soon after one another, in a separate process.
import { setTimeout as sleep } from 'node:timers/promises';
import { machineClock } from '../../test/support/machine-clock.js';
import { answerCalls } from './pinned-process.js';
import { StormClient } from './storm-client.js';

/** The clients, and the channel that they join. */
interface Herd {
  readonly port: number;
  readonly clients: number;
  readonly channel: string;
  readonly replay: number;
  /** How many messages the server has for each of them. */
  readonly messages: number;
  /** Over how long they come, evenly; 0: all at once. */
  readonly spreadMs: number;
}

const TIMEOUT_MS = 60_000;

let clients: StormClient[] = [];

const calls = { join, cut };

/** The functions that such a process offers. */
export type HerdCalls = typeof calls;

answerCalls(calls);

/** @returns when the last of them had all requested messages, by the clock of the machine, and how many messages came in all */
async function join(herd: Herd): Promise<{ doneAt: number; messages: number }> {
  const { port, channel, replay, messages, spreadMs } = herd;
  const timeout = setTimeout(() => {
    throw new Error(`some clients have not got ${messages} messages`);
  }, TIMEOUT_MS);
  clients = Array.from({ length: herd.clients }, () => new StormClient(channel, replay));
  const open = async (client: StormClient, index: number): Promise<void> => {
    if (spreadMs > 0) await sleep((index / clients.length) * spreadMs);
    await client.open(port, messages);
  };
  await Promise.all(clients.map(open));
  clearTimeout(timeout);
  return { doneAt: machineClock(), messages: clients.reduce((sum, { missed }) => sum + missed, 0) };
}

function cut(): void {
  for (const client of clients) client.cut();
  clients = [];
}
