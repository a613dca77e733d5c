import { defineChannel, Message, MessageSource, Serializable } from 'nestjs-messaging/client';

// Shared by servers and clients. Pages get it bundled and minified, so each class has an explicit name.

@Serializable({ name: 'client-person', key: 'id', clients: true })
export class Person {
  constructor(
    readonly id: number,
    readonly name: string,
    readonly born: Date,
  ) {}
}

@Serializable({ name: 'client-chat' })
export class ChatMessage extends Message {
  constructor(
    readonly text: string,
    readonly details: {
      readonly author?: Person;
      readonly tags?: ReadonlySet<string>;
      readonly votes?: ReadonlyMap<Person | string, bigint>;
      readonly sentAt?: Date;
    } = {},
  ) {
    super();
  }
}

/** A message without any properties. */
@Serializable({ name: 'client-ping' })
export class Ping extends Message {}

@MessageSource({ name: 'client-lobby', key: 'name', clients: true })
export class Lobby {
  constructor(readonly name: string) {}
}

export const News = defineChannel('client/news', ChatMessage, { clients: true });
export const Numbers = defineChannel<number, 'client/numbers/:number'>('client/numbers/:number', undefined, {
  clients: true,
});
/** An authorizer decides on each subscription. */
export const Rooms = defineChannel('client/rooms/:roomId', ChatMessage);
/** Not for clients. */
export const Closed = defineChannel('client/closed', ChatMessage);
