import { connect, type Socket } from 'node:net';

/** How a conversation goes. */
export interface ConversationOptions {
  /** Where each of the texts that are written ends, and the next begins only once the one before has been taken. */
  readonly pieces: readonly Buffer[];
  /** How many answers are waited for. */
  readonly answers: number;
  /** How long it may take; then the client leaves, as clients do. */
  readonly patienceMs: number;
  /** Whether the client leaves without a goodbye. */
  readonly reset: boolean;
}

const STATUS_LINE = /HTTP\/1\.1 (\d{3}) /g;
const MOST_KEPT = 65_536;

/** Writes to a server what may be no HTTP at all; gives what came back, up to 64 KiB. Never rejects. */
export function converse(url: string, options: ConversationOptions): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket: Socket = connect(Number(port), hostname);
    let received = '';
    const timer = setTimeout(() => leave(), options.patienceMs);
    const leave = (): void => {
      clearTimeout(timer);
      if (options.reset) socket.resetAndDestroy();
      else socket.destroy();
    };
    socket.setNoDelay();
    socket.on('data', (bytes) => {
      if (received.length < MOST_KEPT) received += bytes.toString('latin1');
      if (statusesOf(received).length >= options.answers) leave();
    });
    // Whatever the server makes of it.
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(received);
    });
    socket.on('connect', () => write(0));
    const write = (index: number): void => {
      const piece = options.pieces[index];
      if (piece !== undefined) socket.write(piece, () => setImmediate(write, index + 1));
    };
  });
}

/** The statuses of the answers in it. */
export function statusesOf(received: string): number[] {
  return [...received.matchAll(STATUS_LINE)].map(([, status]) => Number(status));
}
