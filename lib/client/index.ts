/// <reference lib="es2022.error" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The client, and the code that it shares with the server. Imports nothing of Node or Nest.
 * @module nestjs-messaging/client
 */
export {
  Channel,
  ChannelDeniedError,
  ChannelTemplate,
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  defineChannel,
  defineMessage,
  InvalidChannelError,
  InvalidMessageError,
  LimitExceededError,
  IdentityMap,
  Message,
  MessageSource,
  MessagingError,
  messagesFrom,
  Serializable,
  SourceRef,
  sourceRef,
} from '../protocol/index.js';
export { MessagingClient } from './messaging-client.js';
export { shareAcrossTabs } from './shared-link.js';

export type {
  AuthenticationInfo,
  ChannelOptions,
  ChannelParams,
  Class,
  DefinedChannel,
  ErrorCode,
  IterateOptions,
  ListenableChannel,
  MessageParams,
  MessageSourceOptions,
  ParameterNames,
  SerializableOptions,
} from '../protocol/index.js';
export type { GapReason, Position } from '../protocol/position.js';
export type { ClientErrorContext, ClientHeaders, LinkFactory, MessagingClientOptions } from './client-options.js';
export type { ClientStatus, CloseReason, ReturnReason } from './client-status.js';
export type { Link, LinkReceiver } from './link.js';
export type { MessageObserver, MessageStream } from './message-stream.js';
export type { MessageGap, StreamOptions, SubscribeOptions } from './messaging-client.js';
export type { ClientMessageContext, ClientMessageListener, ClientSubscription, ListenHandle } from './registration.js';
export type { ShareAcrossTabsOptions } from './shared-link.js';
