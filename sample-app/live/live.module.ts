import { Module } from '@nestjs/common';
import { PeopleModule } from '../people/people.module.js';
import { RoomsModule } from '../rooms/rooms.module.js';
import { LiveController } from './live.controller.js';

/** What a page sees without asking. */
@Module({ imports: [PeopleModule, RoomsModule], controllers: [LiveController] })
export class LiveModule {}
