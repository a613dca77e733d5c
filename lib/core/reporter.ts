import type { Gap } from './gap.js';
import type { MessageContext } from './message-context.js';

/** Where a failure happened, for logs and for `onListenerError`. */
export interface ListenerFailure {
  /** Of the message; of a gap, what was listened to: a channel or a template. */
  readonly channel: string;
  /** The listener's name: of the function, or `Class.method` of an `@OnMessage` or `@OnGap` handler. */
  readonly listener: string;
  /** Of the message that it failed at; absent if that was a gap. */
  readonly context?: MessageContext | undefined;
  /** The gap that its `onGap`, or the `@OnGap` handler, failed at. */
  readonly gap?: Gap | undefined;
}

/** What arrived and could not be delivered. */
export interface Rejection {
  readonly channel: string;
  readonly error: Error;
}

/** An event stream that ended other than its handler meant it to. */
export interface StreamFailure {
  /** `Class.method` of the `@Sse()` handler. */
  readonly handler: string;
  readonly error: unknown;
}

/** A reader that was cut off because it left too many bytes waiting, or some for too long. */
export interface SlowConsumer {
  /** `Class.method` of the `@Sse()` handler. */
  readonly handler: string;
  readonly bufferedBytes: number;
}

/** A function of the application that failed and has no caller to tell, other than a listener. */
export interface CallbackFailure {
  /**
   * What it is, for logs: `'onClose of a session'`, `'the end of Class.method'`. A place in the code: it contains no name of a channel, and
   * no id, which clients may choose.
   */
  readonly callback: string;
  /** The channel for which it failed. */
  readonly channel?: string | undefined;
  readonly error: unknown;
}

/** Where the engine tells of failures that have no caller to tell. Must not throw. */
export interface Reporter {
  /** A listener threw at a message or a gap, or its promise rejected. The others have run all the same. */
  listenerFailed(error: unknown, failure: ListenerFailure): void;
  /** Something that arrived was not a message of its channel and was not delivered. */
  messageRejected(rejection: Rejection): void;
  /** The source of an event stream failed after the stream had begun. */
  streamFailed(failure: StreamFailure): void;
  /** A function of the application threw, or its promise rejected. Everything else goes on. */
  callbackFailed(failure: CallbackFailure): void;
  /** Other servers of the application are not set up like this one. Told once of each fault. */
  serversDiffer(fault: string): void;
  /** A reader was too slow and has been cut off. */
  slowConsumer(consumer: SlowConsumer): void;
  /**
   * Something else is wrong that nobody waits for.
   *
   * @param kind - the sort of event, never a text that a client chooses
   */
  warn?(kind: string, text: string): void;
}
