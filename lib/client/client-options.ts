import type { IdentityMap } from '../protocol/identity-map.js';
import type { Class } from '../protocol/message.js';
import type { Clock } from './clock.js';
import type { Link, LinkReceiver } from './link.js';

/** Options of `MessagingClient`. */
export interface MessagingClientOptions {
  /**
   * Where the gateway is mounted: `/messages`, or a whole URL outside of a page. It is looked at with the first
   * connection, so that a program that is evaluated on a server, too, may make its client there. One that cannot be used
   * closes the client, as `misconfigured`; `subscribe` rejects with a `ConfigurationError` then.
   */
  url: string | URL;
  /**
   * Headers of each request, or what makes them; it is asked anew for each request, so that a token may be renewed.
   * A failure of it counts as a failed attempt to connect.
   */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /**
   * Whether cookies go to another origin, as `fetch` has it.
   * @defaultValue 'same-origin'
   */
  credentials?: RequestCredentials;
  /** @defaultValue `globalThis.fetch` */
  fetch?: typeof globalThis.fetch;
  /** Classes that messages may hold, beside those of the channels and those with `@Serializable`. */
  types?: readonly Class[];
  /**
   * Keeps one live instance for each keyed `@Serializable` and key: a message that holds it again updates it in place.
   * @defaultValue none: each message has instances of its own
   */
  identityMap?: IdentityMap;
  /**
   * How the client is linked with the server.
   * @defaultValue a connection of its own; {@link shareAcrossTabs} makes one for all tabs of a page
   */
  link?: LinkFactory;
  /**
   * Called with what a listener throws, with each message that cannot be read, and with the refusal of a channel after
   * a reconnect.
   * @defaultValue `console.error`
   */
  onError?: (error: unknown, context: ClientErrorContext) => unknown;
  /** @internal */
  clock?: Clock;
}

/** Makes the link of a client; with `waitMs` it connects no sooner than that. */
export type LinkFactory = (options: MessagingClientOptions, receiver: LinkReceiver, waitMs?: number) => Link;

/** Where an error came about. */
export interface ClientErrorContext {
  /** The channel of the message or of the subscription, where there is one. */
  readonly channel?: string;
}
