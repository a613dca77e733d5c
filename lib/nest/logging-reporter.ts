import { Logger } from '@nestjs/common';
import { KnownTemplates } from '../core/known-templates.js';
import type {
  CallbackFailure,
  ListenerFailure,
  Rejection,
  Reporter,
  SlowConsumer,
  StreamFailure,
} from '../core/reporter.js';
import { RESERVED_PREFIX, quote } from '../protocol/channel-name.js';
import { declaredChannels } from '../protocol/declared-channels.js';
import type { ErrorCode } from '../protocol/error-codes.js';
import { LogLimiter, type LogEntry, type LogLine } from './log-limiter.js';
import { errorClass, errorStack, errorText, printable } from './log-text.js';

/** The code of an error that the status of the link explains. */
const UNAVAILABLE: ErrorCode = 'TRANSPORT_UNAVAILABLE';

/**
 * Tells the application's log, and its `onListenerError`, of failures that have no caller. All that the library logs
 * passes here, so that no client, node or listener can flood the log or write lines of its own into it.
 */
export class LoggingReporter implements Reporter {
  private readonly logger = new Logger('Messaging');
  private readonly templates = new KnownTemplates();
  private readonly limiter = new LogLimiter((entry) => this.write(entry));

  constructor(private readonly onListenerError?: (error: unknown, failure: ListenerFailure) => unknown) {}

  listenerFailed(error: unknown, failure: ListenerFailure): void {
    const { listener, channel, gap } = failure;
    const part = gap === undefined ? `Listener ${listener}` : `onGap of ${listener}`;
    this.failed(part, () => `${part} failed on channel ${quote(channel)}`, error);
    this.tellApplication(error, failure);
  }

  messageRejected({ channel, error }: Rejection): void {
    const text = () => `A message on channel ${quote(channel)} was not delivered: ${errorText(error)}`;
    this.offer(`rejected ${this.placeOf(channel)} ${errorClass(error)}`, { level: 'error', text });
  }

  streamFailed({ handler, error }: StreamFailure): void {
    this.failed(`stream ${handler}`, () => `The stream of ${handler} failed and was ended`, error);
  }

  callbackFailed({ callback, channel, error }: CallbackFailure): void {
    const place = channel === undefined ? callback : `${callback} ${this.placeOf(channel)}`;
    const what = () =>
      channel === undefined ? `${callback} failed` : `${callback} failed on channel ${quote(channel)}`;
    // The status tells of the outage, and the stack would lead into this library.
    this.failed(`callback ${place}`, what, error, errorClass(error) === UNAVAILABLE);
  }

  serversDiffer(fault: string): void {
    this.warn('servers differ', fault);
  }

  slowConsumer({ handler, bufferedBytes }: SlowConsumer): void {
    const text = `A reader of ${handler} was cut off: ${bufferedBytes} bytes were waiting for it, too many (sse.maxBufferedBytes) or for too long`;
    this.warn(`slow ${handler}`, text);
  }

  /**
   * Something else went wrong that nobody waits for.
   *
   * @param kind - the sort of event and its place in the code, never a text that a client chooses: of each kind a few
   *   lines are written at once, then one per minute
   * @param text - may hold foreign input; it is escaped and cut
   */
  warn(kind: string, text: string): void {
    this.offer(kind, { level: 'warn', text: () => text });
  }

  /** How the link to the other servers is now. The last of such lines is never held back for longer than some seconds. */
  state(level: 'warn' | 'log', text: string): void {
    this.offer('state', { level, text: () => text, isState: true });
  }

  /** Writes what is still held back; for the end of the application. */
  flush(): void {
    this.limiter.flush();
  }

  private failed(place: string, what: () => string, error: unknown, isBrief = false): void {
    const text = () => `${what()}: ${errorText(error)}`;
    this.offer(`${place} ${errorClass(error)}`, { level: 'error', text, ...(isBrief ? { isBrief } : { error }) });
  }

  private tellApplication(error: unknown, failure: ListenerFailure): void {
    const failed = (cause: unknown) => this.failed('onListenerError', () => 'onListenerError failed', cause);
    try {
      void Promise.resolve(this.onListenerError?.(error, failure)).catch(failed);
    } catch (cause) {
      failed(cause);
    }
  }

  /** What an application calls a channel; the names of a template's channels may be chosen by clients. */
  private placeOf(channel: string): string {
    if (channel.startsWith(RESERVED_PREFIX)) return channel.split('/', 1)[0]!.slice(0, 40);
    if (declaredChannels(channel).length > 0) return channel;
    return this.templates.mostLiteral(channel)[0]?.name ?? 'any';
  }

  private offer(kind: string, line: LogLine): void {
    this.limiter.offer(kind, { ...line, text: () => printable(line.text()) });
  }

  /** The engine tells of failures in the midst of a delivery, which a log that fails in turn must not break off. */
  private write({ level, text, error }: LogEntry): void {
    try {
      const stack = errorStack(error);
      if (stack === undefined) this.logger[level](text);
      else this.logger.error(text, stack);
    } catch (cause) {
      const reason = printable(errorText(cause));
      process.emitWarning(`The log of the application failed: ${reason}`, { type: 'MessagingWarning' });
    }
  }
}
