import { Module } from '@nestjs/common';
import { HouseModule } from '../house/house.module.js';
import { RoomAccess } from './room-access.js';
import { RoomController } from './room.controller.js';
import { RoomsController } from './rooms.controller.js';
import { RoomsService } from './rooms.service.js';

/** Where people talk. */
@Module({
  imports: [HouseModule],
  controllers: [RoomsController, RoomController],
  providers: [RoomsService, RoomAccess],
})
export class RoomsModule {}
