import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import type {
  CallbackFailure,
  ListenerFailure,
  Rejection,
  Reporter,
  SlowConsumer,
  StreamFailure,
} from '../core/reporter.js';
import { quote } from '../protocol/channel-name.js';

// How many kinds of rejection are told apart before the log says no more of new ones.
const MAX_KINDS = 1_000;

/** Tells the application's log, and its `onListenerError`, of failures that have no caller. */
export class LoggingReporter implements Reporter {
  private readonly logger = new Logger('Messaging');
  private readonly rejectedKinds = new Set<string>();

  constructor(private readonly onListenerError?: (error: unknown, failure: ListenerFailure) => unknown) {}

  listenerFailed(error: unknown, failure: ListenerFailure): void {
    this.write(
      'error',
      () => `Listener ${failure.listener} failed on channel ${quote(failure.channel)}: ${textOf(error)}`,
      error,
    );
    this.tellApplication(error, failure);
  }

  messageRejected({ channel, error }: Rejection): void {
    // Whoever sends one wrong message sends a thousand: each kind is told once.
    const kind = `${channel} ${error.message.replace(/\d+/g, '#')}`;
    if (this.rejectedKinds.has(kind) || this.rejectedKinds.size >= MAX_KINDS) return;
    this.rejectedKinds.add(kind);
    const text = `A message on channel ${quote(channel)} was not delivered: ${error.message}`;
    this.write('error', () => `${text} (further ones of this kind are not logged)`);
  }

  streamFailed({ handler, error }: StreamFailure): void {
    this.write('error', () => `The stream of ${handler} failed and was ended: ${textOf(error)}`, error);
  }

  callbackFailed({ callback, error }: CallbackFailure): void {
    this.write('error', () => `${callback} failed: ${textOf(error)}`, error);
  }

  slowConsumer({ handler, bufferedBytes }: SlowConsumer): void {
    const text = `A reader of ${handler} was cut off: ${bufferedBytes} bytes were waiting for it, too many (sse.maxBufferedBytes) or for too long`;
    this.write('warn', () => text);
  }

  /** Something else went wrong that nobody waits for. */
  warn(text: string): void {
    this.write('warn', () => text);
  }

  log(text: string): void {
    this.write('log', () => text);
  }

  private tellApplication(error: unknown, failure: ListenerFailure): void {
    const failed = (cause: unknown) => this.write('error', () => `onListenerError failed: ${textOf(cause)}`, cause);
    try {
      void Promise.resolve(this.onListenerError?.(error, failure)).catch(failed);
    } catch (cause) {
      failed(cause);
    }
  }

  /** The engine tells of failures in the midst of a delivery, which a log that fails in turn must not break off. */
  private write(level: 'error' | 'warn' | 'log', text: () => string, error?: unknown): void {
    try {
      const stack = error instanceof Error ? error.stack : undefined;
      if (stack === undefined) this.logger[level](text());
      else this.logger.error(text(), stack);
    } catch (cause) {
      process.emitWarning(`The log of the application failed: ${textOf(cause)}`, { type: 'MessagingWarning' });
    }
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : inspect(error);
}
