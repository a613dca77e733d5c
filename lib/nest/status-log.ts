import type { TransportStatus } from '../core/transport.js';
import { ConfigurationError } from '../protocol/errors.js';
import { isReply } from '../transport/redis-client.js';
import type { LoggingReporter } from './logging-reporter.js';

/** Of so many problems beside `ready` it is known that they were told; what a transport makes up has no end. */
const MAX_TOLD = 20;

/**
 * Tells the application's log how the link to the other servers is: one line if it is lost, one if it is back, and one
 * for each thing that Redis refuses although it is there.
 */
export class StatusLog {
  private before: TransportStatus | undefined = undefined;
  // What was told beside `ready` and may still hold.
  private readonly told = new Set<string>();
  private unstarted: string | undefined = undefined;
  private isStarted = false;

  constructor(private readonly reporter: LoggingReporter) {}

  /** Takes the status as it is now, or its next change. A transport does not report the same again. */
  next(status: TransportStatus): void {
    const { before = status } = this;
    this.before = status;
    if (status.state === 'waiting') this.waiting(before, status);
    else if (status.state === 'ready') this.ready(before, status);
  }

  /** The start did not fail: what could have been why is told. */
  started(): void {
    this.isStarted = true;
    if (this.unstarted !== undefined) this.reporter.state('warn', this.unstarted);
    this.unstarted = undefined;
  }

  /** How it is away may change for hours: only what Redis itself answers is a line of its own. */
  private waiting(before: TransportStatus, { error }: TransportStatus): void {
    if (before.state === 'waiting' && !(error?.cause instanceof Error && isReply(error.cause))) return;
    const reason = (error?.message ?? 'Redis cannot be reached').replace(/[.\s]+$/, '');
    // Which of the two connections is at fault, and so which way, the status does not tell.
    const text = `${reason}; until this ends, messages between this server and the others may be lost`;
    if (this.isStarted || !(error instanceof ConfigurationError)) this.reporter.state('warn', text);
    // The start is about to fail with this error, which is enough.
    else this.unstarted = text;
  }

  private ready(before: TransportStatus, { error }: TransportStatus): void {
    const isBack = before.state === 'waiting';
    const text = error?.message;
    if (text === undefined || this.told.has(text)) {
      this.told.clear();
      if (text !== undefined) this.told.add(text);
      const still = text === undefined ? ': messages reach the other servers again' : `; as before, ${text}`;
      if (isBack) this.reporter.state('log', `Redis is back${still}`);
      else if (before.state === 'ready' && before.error !== undefined) {
        this.reporter.state('log', 'Redis accepts messages again');
      }
    } else {
      if (this.told.size === MAX_TOLD) this.told.clear();
      this.told.add(text);
      this.reporter.state('warn', isBack ? `Redis is back, but ${text}` : text);
    }
  }
}
