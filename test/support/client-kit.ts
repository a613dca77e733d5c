import {
  ChannelDeniedError,
  ConnectionClosedError,
  ConnectionLostError,
  IdentityMap,
  InvalidChannelError,
  LimitExceededError,
  MessagingClient,
  sourceRef,
  type ClientMessageListener,
  type ClientStatus,
  type ClientSubscription,
  type MessageGap,
  type MessagingClientOptions,
} from 'nestjs-messaging/client';
import { CLOCK, realClock } from '../../lib/client/clock.js';
import { HURRIED_MS } from '../../lib/client/retry.js';
import * as messages from './client-messages.js';

// What the program under test has, be it this process or a page. Instances do not leave it: it describes what it gets.

/** What a program tells of itself, as plain values. */
export type Note =
  | { readonly about: 'message'; readonly listener: string; readonly message: unknown; readonly context: unknown }
  | ({ readonly about: 'status' } & NotedStatus)
  | { readonly about: 'gap'; readonly gap: MessageGap }
  | { readonly about: 'error'; readonly text: string; readonly channel: string | undefined }
  | { readonly about: 'word'; readonly word: string; readonly value: unknown };

export interface NotedStatus extends Omit<ClientStatus, 'error'> {
  /** The name of the error's class and its text. */
  readonly error?: string | undefined;
}

const CLASSES = {
  Person: messages.Person,
  ChatMessage: messages.ChatMessage,
  Ping: messages.Ping,
  Lobby: messages.Lobby,
  ChannelDeniedError,
  ConnectionClosedError,
  ConnectionLostError,
  InvalidChannelError,
  LimitExceededError,
};

/** A program that has a client, with what its code needs: scenarios get it as their only variable. */
export class ClientKit {
  readonly messages = messages;
  readonly sourceRef = sourceRef;
  readonly IdentityMap = IdentityMap;
  /** Subscriptions to be ended later. */
  readonly kept = new Map<string, ClientSubscription>();
  /** Who the client says it is. */
  token = 'ada';
  /** While it is set, no timer of the client goes off but the short one of an attempt that is in a hurry; only events wake it. */
  isTimeStopped = false;
  readonly #timers = new Set<unknown>();
  readonly #note: (note: string) => void;
  #client: MessagingClient | undefined;
  #url = '';

  /** @param note - takes a {@link Note} as JSON */
  constructor(note: (note: string) => void) {
    this.#note = note;
  }

  get client(): MessagingClient {
    if (!this.#client) throw new Error('there is no client yet');
    return this.#client;
  }

  /** The option `url` of the client. */
  get url(): string {
    return this.#url;
  }

  /** How many timers of the client are set. */
  get timerCount(): number {
    return this.#timers.size;
  }

  connect(url: string, options: Partial<MessagingClientOptions> = {}): void {
    this.#url = url;
    this.#client = new MessagingClient({
      url,
      headers: async () => ({ authorization: `Bearer ${await Promise.resolve(this.token)}` }),
      onError: (error, { channel }) => this.#tell({ about: 'error', text: nameOf(error), channel }),
      [CLOCK]: {
        ...realClock,
        // The first attempts come soon, so that no test takes long.
        random: () => (this.isTimeStopped ? 1 : 0.02),
        setTimeout: (run, ms) => {
          const timer = realClock.setTimeout(() => {
            this.#timers.delete(timer);
            if (!this.isTimeStopped || ms <= HURRIED_MS) run();
          }, ms);
          this.#timers.add(timer);
          return timer;
        },
        clearTimeout: (timer) => {
          this.#timers.delete(timer);
          realClock.clearTimeout(timer);
        },
      },
      ...options,
    });
    this.#client.onGap((gap) => this.#tell({ about: 'gap', gap }));
    this.#client.onStatus(({ error, ...status }) =>
      this.#tell({ about: 'status', ...status, ...(error && { error: nameOf(error) }) }),
    );
  }

  /** A listener that notes each message. */
  readonly listener =
    (name: string): ClientMessageListener =>
    (message, context) =>
      this.#tell({ about: 'message', listener: name, message: describe(message), context: { ...context } });

  /** Subscribes to rooms by their ids, with listeners of the same names. */
  async enter(...roomIds: (string | number)[]): Promise<void> {
    await Promise.all(
      roomIds.map(async (roomId) => {
        const room = messages.Rooms.for({ roomId });
        this.kept.set(String(roomId), await this.client.subscribe(room, this.listener(String(roomId))));
      }),
    );
  }

  /** What becomes of something: what an error is, or `fulfilled`. */
  readonly outcome = (doing: Promise<unknown>): Promise<string> => doing.then(() => 'fulfilled', nameOf);

  /** Tells of anything else. */
  readonly say = (word: string, value?: unknown): void => this.#tell({ about: 'word', word, value: describe(value) });

  #tell(note: Note): void {
    this.#note(JSON.stringify(note));
  }
}

/** Says of any value what it is an instance of, here. */
function describe(value: unknown): unknown {
  if (typeof value === 'bigint') return { bigint: String(value) };
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return { Date: value.toISOString() };
  if (value instanceof Set) return { Set: Array.from(value, describe) };
  if (value instanceof Map) return { Map: Array.from(value, (entry) => entry.map(describe)) };
  if (Array.isArray(value)) return value.map(describe);
  const own = Object.fromEntries(Object.entries(value).map(([key, member]) => [key, describe(member)]));
  const name = classNameOf(value);
  return name === undefined ? own : { [name]: own };
}

function classNameOf(value: object): string | undefined {
  return Object.entries(CLASSES).find(([, type]) => Object.getPrototypeOf(value) === type.prototype)?.[0];
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${classNameOf(error) ?? error.name}: ${error.message}`;
}
