import { defineChannel, defineMessage } from 'nestjs-messaging/client';

// The server and a page can share this file.
export class Greeting {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

// `clients: true` lets every page subscribe. Without it, no page may.
export const Greetings = defineChannel('greetings', defineMessage('greeting', Greeting), { clients: true });
