import { Module } from '@nestjs/common';
import { HouseModule } from '../house/house.module.js';
import { RoomAccess } from './room-access.js';
import { RoomController } from './room.controller.js';
import { RoomsCatchUp } from './rooms-catch-up.js';
import { RoomsController } from './rooms.controller.js';
import { RoomsService } from './rooms.service.js';

/** Where people talk. */
@Module({
  imports: [HouseModule],
  controllers: [RoomsController, RoomController],
  providers: [RoomsService, RoomsCatchUp, RoomAccess],
})
export class RoomsModule {}
