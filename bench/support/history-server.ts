// A server with a gateway and channels with history, in a separate process: forked with the URL of a Redis. Posts, and measures the
// turns of its event loop and how often it encodes a page of a history for clients.
import 'reflect-metadata';
import { defineChannel, MessagingModule, MessagingService } from 'nestjs-messaging';
import { startServer } from './application.js';
import { answerCalls } from './pinned-process.js';
import { longestTurnMs, watch } from './turns.js';

/** With its number, about 225 bytes as JSON. */
const MESSAGE = {
  room: 'rooms/42',
  author: { id: 7, name: 'Ada Lovelace', admin: false },
  text: 'Hello, how are you today? I am fine, thank you, and so is everybody else around here.',
  tags: ['a', 'b'],
  at: 1_732_270_000_000,
};
const Channels = defineChannel('bench/:number', undefined, {
  clients: true,
  history: { maxMessages: 1_000, ttlMs: 3_600_000 },
});

const { app, port } = await startServer({
  imports: [MessagingModule.forRoot({ redis: process.argv[2], gateway: true })],
});
const messaging = app.get(MessagingService);
const concat = Buffer.concat.bind(Buffer);

/** The posts that a server makes on request. */
interface HistoryPosting {
  readonly from: number;
  readonly channels: number;
  readonly each: number;
  /** How many posts to a channel go together. */
  readonly atOnce: number;
}

const calls = { port: () => port, post, watch, longestTurnMs, countJoins, joins };

/** The functions that such a server offers. */
export type HistoryCalls = typeof calls;

answerCalls(calls);

async function post({ from, channels, each, atOnce }: HistoryPosting): Promise<void> {
  for (let n = 0; n < each; n += atOnce) {
    const posts = Array.from({ length: channels * Math.min(atOnce, each - n) }, (_, index) => {
      const channel = Channels.for({ number: from + (index % channels) });
      return messaging.postMessage(channel, { ...MESSAGE, id: n + Math.floor(index / channels) });
    });
    if ((await Promise.all(posts)).includes(false)) throw new Error('Redis did not take a message');
  }
}

let joined = 0;

/** From now on, counts how often this many buffers or more are concatenated. */
function countJoins(least: number): void {
  joined = 0;
  Buffer.concat = (list, length) => {
    if (list.length >= least) joined++;
    return concat(list, length);
  };
}

function joins(): number {
  Buffer.concat = concat;
  return joined;
}
