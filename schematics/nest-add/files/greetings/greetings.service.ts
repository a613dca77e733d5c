import { Injectable, Logger } from '@nestjs/common';
import { MessagingService, OnMessage } from 'nestjs-messaging';
import { Greeting, Greetings } from './greetings.messages.js';

@Injectable()
export class GreetingsService {
  private readonly logger = new Logger(GreetingsService.name);

  constructor(private readonly messages: MessagingService) {}

  // 'auto' reaches every server if there is Redis, and this process otherwise.
  async post(text: string): Promise<void> {
    await this.messages.postMessage(Greetings, new Greeting(text), { scope: 'auto' });
  }

  // Called for each greeting, on every server that gets it.
  @OnMessage(Greetings)
  log(greeting: Greeting): void {
    this.logger.log(greeting.text);
  }
}
