import { Module } from '@nestjs/common';
import { ChatServer } from './chat-server.js';

/** What everybody is told. */
@Module({ providers: [ChatServer], exports: [ChatServer] })
export class HouseModule {}
