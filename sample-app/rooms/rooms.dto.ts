import { Transform } from 'class-transformer';
import { Length, Matches } from 'class-validator';
import { toTrimmed } from '../trim.js';

export class CreateRoomDto {
  @Transform(toTrimmed)
  @Length(1, 40, { message: 'The name of a room has 1 to 40 characters.' })
  @Matches(/^[\p{L}\p{M}\p{N} .,'!?&()_-]*$/u, {
    message: 'The name of a room is made of letters, digits and simple signs.',
  })
  @Matches(/[\p{L}\p{N}]/u, { message: 'The name of a room needs a letter or a digit.' })
  readonly name!: string;
}

export class WriteDto {
  @Transform(toTrimmed)
  @Length(1, 2000, { message: 'A message has 1 to 2000 characters.' })
  readonly text!: string;
}
