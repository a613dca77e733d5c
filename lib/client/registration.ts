import type { MessageParams } from '../protocol/channel.js';
import type { Position } from '../protocol/position.js';
import type { Target } from './target.js';

/** The handle of a listener's registration. RxJS accepts it as an `Unsubscribable`. */
export interface ClientSubscription extends Disposable, AsyncDisposable {
  /** The name or template of the subscription. */
  readonly channel: string;
  /** Whether it has ended: by `unsubscribe`, with the client, or because the server refused the channel after a reconnect. */
  readonly closed: boolean;
  /**
   * Ends it. The listener is not called again, not even for a message that is being delivered. If this was the last
   * subscription to the channel, the client then informs the server. It needs no `this`.
   */
  unsubscribe(this: void): Promise<void>;
}

/**
 * The handle that `MessagingClient.listen` returns at once. RxJS accepts it as an `Unsubscribable`, and its `unsubscribe` is a cleanup
 * for React or Vue.
 */
export interface ListenHandle extends Disposable {
  /** The name or template of the subscription. */
  readonly channel: string;
  /** Whether it has ended, or never began: see `ready`. */
  readonly closed: boolean;
  /**
   * Resolves with the subscription once the server has confirmed it. Resolves with a closed subscription if `unsubscribe` comes first.
   * Rejects with the errors of `MessagingClient.subscribe`. A rejection that nobody handles is no unhandled rejection, because `onError`
   * gets the error as well. If the application itself ends the subscription (`client.close()`, `signal`), only `ready` rejects.
   */
  readonly ready: Promise<ClientSubscription>;
  /** Ends it, also before it is ready. The listener is not called again. To call it once more does nothing. It needs no `this`. */
  unsubscribe(this: void): void;
}

/** The information that a listener gets with a message. */
export interface ClientMessageContext<Params = MessageParams> {
  /** The name of the channel that the message was posted to, parameters filled in. */
  readonly channel: string;
  /** The parameters of the channel, from the template of the subscription or of its channel; otherwise empty. */
  readonly params: Params;
  /** The wire name of the message's class; `undefined` for plain values. */
  readonly type: string | undefined;
  /** When it was posted, by the poster's clock, in milliseconds since 1970. */
  readonly postedAt: number;
  /** Its place in the history of the channel, the same on every server; `undefined` if the channel keeps none. */
  readonly position: Position | undefined;
  /** Whether it is an earlier message, read from the history for this listener (`replay`). */
  readonly replayed: boolean;
}

/** Called with each message. Its result is ignored, except that `onError` gets the rejection of a promise. */
export type ClientMessageListener<T = unknown, Params = MessageParams> = (
  message: T,
  context: ClientMessageContext<Params>,
) => unknown;

/** Who gets what comes of a registration. */
export interface MessageReceiver {
  message: ClientMessageListener<never>;
  /** The server has confirmed the subscription; again after each reconnect. */
  confirmed?(): void;
  /**
   * It has ended, once.
   *
   * @param error - none where this side ended it
   * @param call - calls a function of the application; what that throws, or its promise rejects with, is reported
   * @returns whether somebody has been told of the error
   */
  ended(error: Error | undefined, call: (run: () => unknown) => void): boolean;
}

/** Who ends registrations. */
interface RegistrationOwner {
  remove(registration: Registration): unknown;
}

/** A receiver on a channel: the registration and its handle in one. */
export class Registration implements ClientSubscription {
  closed = false;
  /** See {@link ListenHandle.ready}; none for a stream. */
  ready?: Promise<ClientSubscription>;
  /** What the server calls it while it is given the past. */
  listener: string | undefined;
  /** Up to where it was given the past. */
  until: Position | undefined;
  readonly #owner: RegistrationOwner;

  constructor(
    readonly target: Target,
    readonly receiver: MessageReceiver,
    owner: RegistrationOwner,
    /** What of the past it is to be given first. */
    readonly past?: number | Position | undefined,
  ) {
    this.#owner = owner;
  }

  get channel(): string {
    return this.target.name;
  }

  /** Bound, so that it can be the cleanup of an effect without its handle. */
  readonly unsubscribe = async (): Promise<void> => {
    this.#owner.remove(this);
  };

  [Symbol.dispose](): void {
    this.#owner.remove(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unsubscribe();
  }
}
