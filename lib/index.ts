/// <reference lib="es2022.error" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The API of the server. Everything that it does not export is private.
 * @module nestjs-messaging
 */
export { AuthorizeChannel } from './nest/gateway/authorize-channel.decorator.js';
export { ClientConnectionChanges } from './gateway/client-connection-changes.js';
export { ClientConnections } from './nest/gateway/client-connections.js';
export { revokedAuthenticationChannel } from './core/revoked-channel.js';
export { Ctx, Payload } from './nest/message-params.js';
export { MessageRequest } from './nest/message-request.js';
export { Messages } from './nest/messages.decorator.js';
export { MessagingModule } from './nest/messaging.module.js';
export { MessagingService } from './nest/messaging.service.js';
export { OnGap } from './nest/on-gap.decorator.js';
export { OnMessage } from './nest/on-message.decorator.js';
export { SessionMessages } from './nest/session-messages.js';
export { Sse } from './nest/sse.decorator.js';
export { SseEvent } from './sse/sse-event.js';
export {
  Channel,
  ChannelDeniedError,
  ChannelTemplate,
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  defineChannel,
  defineMessage,
  ERROR_CODES,
  InvalidChannelError,
  InvalidMessageError,
  LimitExceededError,
  Message,
  MessageSource,
  messagesFrom,
  MessagingError,
  RedisNotEnabledError,
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
  Serializable,
  SessionClosedError,
  SourceRef,
  sourceRef,
  TransportUnavailableError,
  UnserializableError,
} from './protocol/index.js';

export type { MessageContext } from './core/message-context.js';
export type { Gap, GapListener } from './core/gap.js';
export type {
  AppendOutcome,
  HistoryBounds,
  HistoryEntry,
  HistoryPost,
  HistoryChanges,
  HistoryMoment,
  HistoryRead,
  HistoryStore,
  HistoryTime,
} from './core/history-store.js';
export type { MessageIterator } from './core/iteration.js';
export type { ListenOptions } from './core/listen-options.js';
export type { OnMessageOptions } from './nest/on-message.decorator.js';
export type { PostOptions, PostScope } from './core/post-options.js';
export type { MessageListener, MessageSubscription } from './core/listener.js';
export type { ListenerFailure } from './core/reporter.js';
export type { Session } from './core/session.js';
export type { SessionCloseReason } from './core/session-close-reason.js';
export type {
  PublishOptions,
  SubscribeOptions,
  Transport,
  TransportEvents,
  TransportLoss,
  TransportReceiver,
  TransportRejection,
  TransportStatus,
} from './core/transport.js';
export type {
  ClassTransformerOptions,
  ClassValidatorOptions,
  IncomingRequest,
  MessagingModuleAsyncOptions,
  MessagingModuleOptions,
  MessagingOptions,
  MessagingOptionsFactory,
  SessionScope,
  RevocationOptions,
  SseOptions,
} from './nest/messaging-options.js';
export type { AuthorizeChannelOptions, ClientContext } from './nest/gateway/authorize-channel.decorator.js';
export type { ClientConnectionChange } from './gateway/client-connection-changes.js';
export type { ChannelGrant, ChannelRule } from './gateway/channel-rule.js';
export type { ClientConnectionInfo } from './gateway/connection-order.js';
export type {
  ClientConnectionCount,
  ClientConnectionList,
  ClientUser,
  DisconnectOptions,
  ListConnectionsOptions,
} from './nest/gateway/client-connections.js';
export type { GatewayOptions } from './nest/gateway/gateway-options.js';
export type { SessionOptions } from './nest/messaging.service.js';
export type { SseRouteOptions } from './nest/sse.decorator.js';
export type { SseEventOptions } from './sse/sse-event.js';
export type { RedisOption, RedisTransportOptions } from './transport/redis-options.js';
export type {
  AuthenticationClaims,
  AuthenticationInfo,
  ChannelOptions,
  ChannelParams,
  Class,
  DefinedChannel,
  ErrorCode,
  GapReason,
  HistoryOptions,
  IterateOptions,
  LimitOptions,
  Limits,
  ListenableChannel,
  MessageParams,
  MessageSourceOptions,
  ParameterNames,
  Position,
  PostableChannel,
  RevokedAuthentication,
  SerializableOptions,
} from './protocol/index.js';
