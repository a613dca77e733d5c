import { Transform } from 'class-transformer';
import { IsString, Matches, MaxLength } from 'class-validator';
import { toTrimmed } from '../trim.js';

export class StatusDto {
  @Transform(toTrimmed)
  @IsString({ message: 'A status is text.' })
  @MaxLength(80, { message: 'A status has at most 80 characters.' })
  @Matches(/^\P{Cc}*$/u, { message: 'A status is one line of text.' })
  readonly status!: string;
}
