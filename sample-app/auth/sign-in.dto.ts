import { Transform } from 'class-transformer';
import { Length, Matches } from 'class-validator';
import { toTrimmed } from '../trim.js';

export class SignInDto {
  @Transform(toTrimmed)
  @Length(1, 30, { message: 'A name has 1 to 30 characters.' })
  @Matches(/^[\p{L}\p{N}][\p{L}\p{M}\p{N} .'_-]*$/u, { message: "A name is made of letters, digits, spaces and .'_-" })
  readonly name!: string;
}
