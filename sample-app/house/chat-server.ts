import { Injectable } from '@nestjs/common';
import { MessageSource, MessagingService, OnMessage } from 'nestjs-messaging';
import { UserUpdates, type UserUpdate } from '../people/people.messages.js';
import { ChatMessage } from '../rooms/rooms.messages.js';

/** The house, which gives notices to everybody who is in, whatever room they are in. */
@Injectable()
@MessageSource({ name: 'ChatServer', key: 'name', clients: true })
export class ChatServer {
  /** By this name, pages subscribe to what it sends. */
  readonly name = 'house';

  constructor(private readonly messaging: MessagingService) {}

  /** Tells all pages, on all servers. */
  announce(text: string): Promise<boolean> {
    return this.messaging.sendMessage(this, ChatMessage.notice(text));
  }

  // Only the pages of this server: the others find out by themselves who came and who left.
  @OnMessage(UserUpdates)
  async tellOfSomebody({ kind, name, status }: UserUpdate): Promise<void> {
    const news = {
      joined: `${name} came in`,
      left: `${name} left`,
      status: status === '' ? `${name} cleared their status` : `${name} is now: ${status}`,
    };
    await this.messaging.sendMessage(this, ChatMessage.notice(news[kind]), { scope: 'local' });
  }
}
