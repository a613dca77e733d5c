export {
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
  type AuthenticationInfo,
  type RevokedAuthentication,
} from './authentication.js';
export {
  Channel,
  ChannelTemplate,
  defineChannel,
  type ChannelOptions,
  type ChannelParams,
  type DefinedChannel,
  type ListenableChannel,
  type ParameterNames,
  type PostableChannel,
} from './channel.js';
export {
  ChannelDeniedError,
  ConfigurationError,
  ConnectionClosedError,
  ERROR_CODES,
  InvalidChannelError,
  InvalidMessageError,
  LimitExceededError,
  MessagingError,
  RedisNotEnabledError,
  SessionClosedError,
  TransportUnavailableError,
  UnserializableError,
  type ErrorCode,
} from './errors.js';
export type { Limits } from './limits.js';
export { Message, type Class } from './message.js';
export { MessageSource, Serializable, type MessageSourceOptions, type SerializableOptions } from './serializable.js';
export { messagesFrom, SourceRef, sourceRef } from './source.js';
