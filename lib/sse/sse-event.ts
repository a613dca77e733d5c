import { checkOptions, wholeNumber, type OptionCheck } from '../protocol/check-options.js';
import { eventField, idField } from './frame.js';

/** Options of an {@link SseEvent} besides its message. */
export interface SseEventOptions {
  /**
   * The id that a browser sends as `Last-Event-ID` when it reconnects.
   * @defaultValue none
   */
  id?: string | undefined;
  /**
   * The event's name.
   * @defaultValue the name of the message's class; `message` for a plain value
   */
  event?: string | undefined;
  /**
   * How long the browser waits before it reconnects, in milliseconds, from now on.
   * @defaultValue as before
   */
  retryMs?: number | undefined;
}

const OPTIONS: Readonly<Record<keyof SseEventOptions, OptionCheck>> = {
  id: idField,
  event: eventField,
  retryMs: wholeNumber(0),
};

/**
 * A message with an event id or an event name of its own, for streams of `@Sse()`. Its data is the message, as without.
 *
 * @example
 * ```ts
 * @Sse('steps')
 * steps() {
 *   return of(new SseEvent('queued', { id: '1', event: 'step' }), new SseEvent('done', { id: '2', event: 'step' }));
 * }
 * ```
 */
export class SseEvent<T = unknown> {
  /**
   * @throws ConfigurationError for a name that belongs to the browser (`error`, `open`) or to this library (`messaging:…`),
   *   for an id of this library, and for a name or an id with CR, LF or NUL
   */
  constructor(
    /** The data of the event. */
    readonly message: T,
    /** Its id, its name and the time to reconnect. */
    readonly options: Readonly<SseEventOptions> = {},
  ) {
    checkOptions(options, 'SseEvent', OPTIONS);
  }
}
