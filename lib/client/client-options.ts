import { callback, classes, oneOf, type OptionCheck } from '../protocol/check-options.js';
import type { IdentityMap } from '../protocol/identity-map.js';
import type { Class } from '../protocol/message.js';
import type { CLOCK, Clock } from './clock.js';
import type { Link, LinkReceiver } from './link.js';

/** What `new Headers()` takes. Of this name there is a global type in browsers, but not on Node. */
type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>;

/** Headers as `new Headers()` takes them, or an object with values that may be absent: `{ authorization: token && … }`. */
export type ClientHeaders = HeadersInit | Readonly<Record<string, string | null | undefined>>;

/** Options of `MessagingClient`. */
export interface MessagingClientOptions {
  /**
   * The address of the gateway: `/messages`, or an absolute URL outside a page. The client checks it with the first connection, so a
   * module that creates a client can be evaluated on a server too. A URL that cannot be used closes the client as `misconfigured`;
   * `subscribe` then rejects with a `ConfigurationError`.
   */
  url: string | URL;
  /**
   * Headers for each request, or a function that is called for each request, so that it can return a fresh token.
   * In an object, `undefined` and `null` leave a header out. If the function fails, the attempt to connect has failed. A header
   * that cannot be sent closes the client as `misconfigured`, unless it has been open before.
   * @defaultValue none
   */
  headers?: ClientHeaders | (() => ClientHeaders | Promise<ClientHeaders>) | undefined;
  /**
   * Whether cookies go to another origin, as for `fetch`.
   * @defaultValue 'same-origin'
   */
  credentials?: 'include' | 'omit' | 'same-origin' | undefined;
  /**
   * A function to use in place of the platform's `fetch`.
   * @defaultValue `globalThis.fetch`
   */
  fetch?: typeof globalThis.fetch | undefined;
  /**
   * Classes that messages may contain, in addition to those of the channels and those with `@Serializable`.
   * @defaultValue none
   */
  types?: readonly Class[] | undefined;
  /**
   * Keeps one live instance for each keyed `@Serializable` and key: the next message that contains it updates it in place.
   * @defaultValue none: each message has instances of its own
   */
  identityMap?: IdentityMap | undefined;
  /**
   * How the client reaches the server.
   * @defaultValue its own connection; `shareAcrossTabs()` makes one for all tabs of a page
   */
  link?: LinkFactory | undefined;
  /**
   * Called with each error that a listener throws, with each message that cannot be read, if the server refuses a channel
   * after a reconnect, and if `listen` fails.
   * @defaultValue `console.error`
   */
  onError?: ((error: unknown, context: ClientErrorContext) => unknown) | undefined;
  /** @internal */
  [CLOCK]?: Clock;
}

/** The checks of {@link MessagingClientOptions}. */
export const CLIENT_OPTIONS: Record<Exclude<keyof MessagingClientOptions, typeof CLOCK>, OptionCheck> = {
  // Checked with the first connection.
  url: () => undefined,
  headers: (value) =>
    !(value && ['function', 'object'].includes(typeof value)) && 'headers or a function that returns them',
  credentials: oneOf('omit', 'same-origin', 'include'),
  fetch: callback,
  types: classes,
  // Not by its class, which would then be part of every page.
  identityMap: (value) => typeof (value as Partial<IdentityMap> | null)?.begin !== 'function' && 'an IdentityMap',
  link: callback,
  onError: callback,
};

/** Makes the link of a client. With `waitMs`, it first waits that long. */
export type LinkFactory = (options: MessagingClientOptions, receiver: LinkReceiver, waitMs?: number) => Link;

/** Where an error occurred. */
export interface ClientErrorContext {
  /** The channel of the message or of the subscription, if there is one. */
  readonly channel?: string;
}
