import type { ListenableChannel, MessagingClient } from 'nestjs-messaging/client';
import { ApiError, untilReachable } from './api.js';

interface ReplicaOptions<State> {
  /** Asks the server for the state. */
  fetch: () => Promise<State>;
  /** Takes the state, the first time and each time it had to be asked for again. */
  show: (state: State) => void;
  onError: (error: unknown) => void;
  /** Ends it. */
  signal: AbortSignal;
}

/**
 * Keeps up with something that the server has: its state comes by a request, its changes come as messages.
 *
 * First it listens, then it asks, and changes wait for the answer: so nothing falls in between, and nothing old
 * comes after something new. After an interruption the client brings what was missed; where it cannot, it asks again.
 */
export class Replica<State> {
  readonly #client: MessagingClient;
  readonly #options: ReplicaOptions<State>;
  readonly #channels = new Set<string>();
  readonly #subscribed: Promise<unknown>[] = [];
  /** Resolves when the state that was asked for last has been shown. */
  #current: Promise<unknown> = Promise.resolve();

  constructor(client: MessagingClient, options: ReplicaOptions<State>) {
    this.#client = client;
    this.#options = options;
  }

  /** Listens to changes. */
  on<T>(channel: ListenableChannel<T>, change: (message: T) => void): void {
    const { signal } = this.#options;
    const listener = (message: T) => this.#current.then(() => signal.aborted || change(message));
    this.#channels.add(typeof channel === 'string' ? channel : channel.name);
    this.#subscribed.push(this.#client.subscribe(channel, listener, { signal }));
  }

  /** To be called when it listens to all that it shall. */
  start(): void {
    this.#follow(Promise.all(this.#subscribed));
    const stop = this.#client.onGap(({ channel }) => {
      if (this.#channels.has(channel)) this.#follow(Promise.resolve());
    });
    this.#options.signal.addEventListener('abort', stop);
  }

  #follow(listening: Promise<unknown>): void {
    const { show, onError, signal } = this.#options;
    this.#current = listening
      .then(() => this.#fetch())
      .then((state) => signal.aborted || show(state))
      .catch((error: unknown) => signal.aborted || onError(error));
  }

  async #fetch(): Promise<State> {
    const { fetch, signal } = this.#options;
    for (;;) {
      try {
        return await fetch();
      } catch (error) {
        if (signal.aborted || !(error instanceof ApiError && error.isUnreachable)) throw error;
        await untilReachable();
      }
    }
  }
}
