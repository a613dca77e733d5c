import type { MemoryLog, MemoryLogs } from '../core/memory-log.js';
import type { ClientEntry, ClientMessage } from './client-message.js';

/** The latest messages of a history that a feed has sent, without a hole: for clients that enter while it goes on. */
export class HistoryRing {
  /** Its first offset is the one after `base` in the history. */
  private log: MemoryLog<ClientMessage>;
  private base = 0;

  constructor(private readonly logs: MemoryLogs) {
    this.log = logs.open(false);
  }

  /** Another one after each {@link restart}. */
  get key(): object {
    return this.log;
  }

  /** The last offset that is no longer in it. */
  get floor(): number {
    return this.base + this.log.forgottenOffset;
  }

  /** Goes on after an offset, with nothing in it. */
  restart(offset: number): void {
    this.log.close();
    this.log = this.logs.open(false);
    this.base = offset;
  }

  /** The message that comes next. */
  append(channel: string, body: ClientMessage): void {
    const bytes = body.frame.bytes.length;
    this.log.append({ kind: 'message', channel, node: '', serial: undefined, body, bytes });
  }

  /** What comes after an offset; `undefined` if it is no longer known. */
  after(offset: number): readonly ClientEntry[] | undefined {
    const read = this.log.read({ epoch: this.log.epoch, offset: Math.max(0, offset - this.base) });
    if (offset < this.base || !read.found) return undefined;
    return read.entries.map((entry) => ({ ...entry, offset: this.base + entry.offset }));
  }

  close(): void {
    this.log.close();
  }
}
