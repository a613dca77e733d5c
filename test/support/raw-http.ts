import { connect, type Socket } from 'node:net';

/** The course of a conversation. */
export interface ConversationOptions {
  /** Where each written text ends. The next one begins only after the server has taken the one before. */
  readonly pieces: readonly Buffer[];
  /** How many answers to wait for. */
  readonly answers: number;
  /** How long it may take. Then the client leaves, as clients do. */
  readonly patienceMs: number;
  /** Whether the client leaves without a goodbye. */
  readonly reset: boolean;
}

const STATUS_LINE = /HTTP\/1\.1 (\d{3}) /g;
const MOST_KEPT = 65_536;

/** Writes to a server what may not be valid HTTP; returns up to 64 KiB of the answer. Never rejects. */
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
    // However the server reacts.
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

/** The statuses of its answers. */
export function statusesOf(received: string): number[] {
  return [...received.matchAll(STATUS_LINE)].map(([, status]) => Number(status));
}
