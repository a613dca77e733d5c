import { Transform } from 'class-transformer';
import { IsBoolean, IsIn, IsOptional, Length, Matches } from 'class-validator';
import { SignInDto } from '../auth/sign-in.dto.js';
import { toTrimmed } from '../trim.js';
import { REACTIONS } from './rooms.messages.js';

const MAX_TEXT = 2000;

export class CreateRoomDto {
  @Transform(toTrimmed)
  @Length(1, 40, { message: 'The name of a room has 1 to 40 characters.' })
  @Matches(/^[\p{L}\p{M}\p{N} .,'!?&()_-]*$/u, {
    message: 'The name of a room is made of letters, digits and simple signs.',
  })
  @Matches(/[\p{L}\p{N}]/u, { message: 'The name of a room needs a letter or a digit.' })
  readonly name!: string;

  @IsOptional()
  @IsBoolean({ message: 'A room is private or not: true or false.' })
  readonly isPrivate?: boolean;
}

/** People are invited by the names that they sign in with. */
export class InviteDto extends SignInDto {}

export class WriteDto {
  @Transform(toTrimmed)
  @Length(1, MAX_TEXT, { message: `A message has 1 to ${MAX_TEXT} characters.` })
  readonly text!: string;
}

export class TypingDto {
  @Length(0, MAX_TEXT, { message: `What is being written is text of at most ${MAX_TEXT} characters.` })
  readonly text!: string;
}

export class ReactDto {
  @IsIn(Object.keys(REACTIONS), { message: 'There is no such reaction.' })
  readonly emoji!: string;

  @IsBoolean({ message: 'A reaction is on or not: true or false.' })
  readonly isOn!: boolean;
}
