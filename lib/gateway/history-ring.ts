import type { MemoryLog, MemoryLogs } from '../core/memory-log.js';
import type { ClientEntry, ClientMessage } from './client-message.js';

/** The latest messages of a history that a feed has sent, without gaps, for clients that enter meanwhile. */
export class HistoryRing {
  /** Its first offset is the one after `base` in the history. */
  private log: MemoryLog<ClientMessage>;
  private base = 0;

  constructor(private readonly logs: MemoryLogs) {
    this.log = logs.open(false);
  }

  /** Changes with each {@link restart}. */
  get key(): object {
    return this.log;
  }

  /** The last offset that it no longer has. */
  get floor(): number {
    return this.base + this.log.forgottenOffset;
  }

  /** Continues after an offset, empty. */
  restart(offset: number): void {
    this.log.close();
    this.log = this.logs.open(false);
    this.base = offset;
  }

  /** Appends the next message. */
  append(channel: string, body: ClientMessage): void {
    const bytes = body.frame.bytes.length;
    this.log.append({ kind: 'message', channel, node: '', serial: undefined, body, bytes });
  }

  /** The messages after an offset; `undefined` if they are no longer known. */
  after(offset: number): readonly ClientEntry[] | undefined {
    const read = this.log.read({ epoch: this.log.epoch, offset: Math.max(0, offset - this.base) });
    if (offset < this.base || !read.found) return undefined;
    return read.entries.map((entry) => ({ ...entry, offset: this.base + entry.offset }));
  }

  close(): void {
    this.log.close();
  }
}
