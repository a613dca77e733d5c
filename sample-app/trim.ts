import type { TransformFnParams } from 'class-transformer';

/** For `@Transform`: text without spaces around it; anything else as it is, for the validator to refuse. */
export function toTrimmed({ value }: TransformFnParams): unknown {
  return typeof value === 'string' ? value.trim() : value;
}
