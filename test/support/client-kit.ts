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
import { HURRIED_MS } from '../../lib/client/times.js';
import * as messages from './client-messages.js';

// The kit of the program under test, in this process or in a page. Instances do not leave it: it describes its values.

/** A report of a program, as plain values. */
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

/** A program with a client, and everything that its code needs. Scenarios get it as their only variable. */
export class ClientKit {
  readonly messages = messages;
  readonly sourceRef = sourceRef;
  readonly IdentityMap = IdentityMap;
  /** Subscriptions that a scenario ends later. */
  readonly kept = new Map<string, ClientSubscription>();
  /** The name that the client gives for itself. */
  token = 'ada';
  /** While it is set, no timer of the client fires except the short one of an urgent attempt; only events wake it. */
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

  /** How many timers the client has set. */
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
        // The first attempts come soon, to keep tests short.
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

  /** The outcome of a promise: a description of its error, or `fulfilled`. */
  readonly outcome = (doing: Promise<unknown>): Promise<string> => doing.then(() => 'fulfilled', nameOf);

  /** Reports any other value. */
  readonly say = (word: string, value?: unknown): void => this.#tell({ about: 'word', word, value: describe(value) });

  #tell(note: Note): void {
    this.#note(JSON.stringify(note));
  }
}

/** Describes any value by its class, here. */
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
