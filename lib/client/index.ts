// What a program that receives messages shares with the server that sends them. Imports nothing of Node or Nest.
export {
  Channel,
  ChannelTemplate,
  defineChannel,
  ConfigurationError,
  InvalidChannelError,
  InvalidMessageError,
  Message,
  MessageSource,
  MessagingError,
  messagesFrom,
  Serializable,
  SourceRef,
  sourceRef,
} from '../protocol/index.js';
export type {
  AuthenticationInfo,
  ChannelOptions,
  ChannelParams,
  Class,
  ErrorCode,
  MessageSourceOptions,
  SerializableOptions,
} from '../protocol/index.js';
