import { Module } from '@nestjs/common';
import { RoomsCatchUp } from './rooms-catch-up.js';
import { RoomsController } from './rooms.controller.js';
import { RoomsService } from './rooms.service.js';

/** Where people talk. */
@Module({ controllers: [RoomsController], providers: [RoomsService, RoomsCatchUp], exports: [RoomsService] })
export class RoomsModule {}
