import type { Observable } from 'rxjs';
import type { GapReason, Position } from '../protocol/position.js';
import type { HistoryStore } from './history-store.js';

/**
 * How the link to the broker is.
 *
 * - `connecting`: not yet reached since the start
 * - `ready`: posts are accepted and every interest is registered at the broker
 * - `waiting`: lost or refused; the next attempt comes by itself
 * - `closed`: by `close()`, for good
 */
export interface TransportStatus {
  /** How the link is. */
  readonly state: 'connecting' | 'ready' | 'waiting' | 'closed';
  /** Why it is not ready, where a failure was seen; beside `ready`, what the broker refuses although it is there. */
  readonly error?: Error | undefined;
}

/**
 * Takes what other nodes published.
 *
 * @param payload - as it was published
 * @param subscription - the name or template, as given to {@link Transport.subscribe}, that it came through;
 *   a payload that matches several subscriptions comes once for each
 * @param channel - the name it was published on
 * @param position - its place in the history of the channel, if it was appended there
 */
export type TransportReceiver = (payload: string, subscription: string, channel: string, position?: Position) => void;

/** Told once of each thing that came from elsewhere and is not handed over. */
export type TransportRejection = (channel: string, error: Error) => void;

/**
 * Told that payloads of a subscription may be missing: its `subscribe` had resolved, it was not heard for a while, and now it
 * is heard again. Told once for each such while and subscription; after all payloads from before it, and before the first one
 * from after it. Not told of subscriptions that were first registered, or dropped, meanwhile.
 *
 * @param subscription - the name or template, as given to {@link Transport.subscribe}
 * @param forMs - for how long it may not have been heard: payloads from before that have been handed over. Absent: it is not known; readers of a
 *   template then have a gap, although its channels may keep histories
 */
export type TransportLoss = (subscription: string, reason: GapReason, forMs?: number) => void;

/** What a transport tells of beside payloads. */
export interface TransportEvents {
  /** Told of what is not handed over to the receiver, such as the rest of a batch that is too long. */
  readonly rejected?: TransportRejection | undefined;
  /** A transport that cannot know of losses never calls it. */
  readonly lost?: TransportLoss | undefined;
  /** Told, if the transport can know, when it begins to hear nothing: before anything that it hears later. */
  readonly interrupted?: (() => void) | undefined;
  /** Told once of a matter that somebody should mend although all works: it goes to the log, and not into the status. */
  readonly warned?: ((text: string) => void) | undefined;
  /** What goes before posts. A transport in which none wait while the broker is away need not do it. */
  readonly beforePosts?: BeforePosts | undefined;
}

/**
 * To be done whenever posts can be sent, for the first time or again, before any is: neither those that have waited nor those that are
 * made meanwhile.
 */
export interface BeforePosts {
  /** The channel to whose history posts are appended all the same. */
  readonly except: string;
  /** Resolves when posts may be sent, within a few seconds; never rejects. */
  run(): Promise<void>;
}

/**
 * Carries payloads between nodes; local delivery is not its matter. At most once, and in the order of
 * publishing for one channel and one publisher.
 */
export interface Transport {
  /** The current status, then every change; completes when closed. */
  readonly status: Observable<TransportStatus>;

  /**
   * Why channels cannot have `interop: true` over this transport, and what to do about it: the end of an error text. Absent: they can, or
   * the option has no meaning here.
   */
  readonly noInterop?: string | undefined;

  /** Where channels keep their histories; a transport without it carries none that do. */
  readonly history?: HistoryStore | undefined;

  /**
   * Connects. Resolves also if the broker cannot be reached: it is then tried again until `close()`.
   *
   * @throws (rejects) where trying again cannot help: wrong credentials, a missing package
   */
  start(receiver: TransportReceiver, events?: TransportEvents): Promise<void>;

  /**
   * Hands a payload to the broker. Never rejects.
   *
   * @returns whether the broker accepted it, in time; `false` promises that it will not be sent later
   *   unless the link broke while the broker was answering
   */
  publish(channel: string, payload: string, options?: PublishOptions): Promise<boolean>;

  /**
   * Registers interest in a channel or, by a template, in all of its channels. May be called before `start`.
   * Idempotent; options that ask for more than before add to it.
   *
   * @returns resolves once nothing published from now on can be missed, or once the interest is dropped; never rejects
   */
  subscribe(name: string, options?: SubscribeOptions): Promise<void>;

  /** Drops the interest, at the latest a little later. */
  unsubscribe(name: string): void;

  /**
   * Asks the broker how many nodes, this one included, are subscribed to exactly this name right now. Never rejects. Without this method,
   * nobody knows whether all nodes have applied a revocation.
   *
   * @returns also counts a node that has just died or is deaf, as long as its subscription is registered. `undefined`: it cannot
   *   be known now
   */
  hearers?(name: string): Promise<number | undefined>;

  /**
   * Waits until all has been handed over that the broker had taken before the call, from any node. Never rejects. Needed only
   * if what one node publishes may overtake what another one published before; without this method it never does.
   *
   * @returns `false` if that cannot be known in time
   */
  catchUp?(): Promise<boolean>;

  /**
   * Waits until the outcome of each payload that was published before the call is known. Never rejects. Needed only if a payload may overtake
   * an earlier one of another channel; without this method none does.
   */
  settled?(): Promise<void>;

  /** Ends the link and frees everything. Publishing resolves with `false` from now on. */
  close(): Promise<void>;
}

/** How one payload is published. */
export interface PublishOptions {
  /** Whether parts that are not of this library hear it too. `undefined`: as the transport is set. */
  readonly interop?: boolean | undefined;
  /**
   * Whether it is known to have no line break: envelopes have none.
   * @internal
   */
  readonly isLine?: boolean | undefined;
}

/** How one name or template is heard. */
export interface SubscribeOptions {
  /** Whether parts that are not of this library are heard too. `undefined`: as the transport is set. */
  readonly interop?: boolean | undefined;
}
