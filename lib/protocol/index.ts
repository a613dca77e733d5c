export {
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
  type AuthenticationClaims,
  type AuthenticationInfo,
  type RevokedAuthentication,
} from './authentication.js';
export {
  Channel,
  ChannelTemplate,
  defineChannel,
  type ChannelParams,
  type DefinedChannel,
  type ListenableChannel,
  type MessageParams,
  type ParameterNames,
  type PostableChannel,
} from './channel.js';
export type { ChannelOptions, HistoryOptions } from './channel-definition.js';
export { ERROR_CODES, type ErrorCode } from './error-codes.js';
export {
  ChannelDeniedError,
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  InvalidChannelError,
  InvalidMessageError,
  LimitExceededError,
  MessagingError,
  RedisNotEnabledError,
  SessionClosedError,
  TransportUnavailableError,
  UnserializableError,
} from './errors.js';
export { IdentityMap } from './identity-map.js';
export type { IterateOptions } from './iteration.js';
export type { LimitOptions, Limits } from './limits.js';
export { Message, type Class } from './message.js';
export {
  defineMessage,
  MessageSource,
  Serializable,
  type MessageSourceOptions,
  type SerializableOptions,
} from './serializable.js';
export type { GapReason, Position } from './position.js';
export { messagesFrom, SourceRef, sourceRef } from './source.js';
