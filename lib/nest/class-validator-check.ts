import type { ValidationError } from 'class-validator';
import { importOptional } from './import-optional.js';
import type { InstanceCheck } from '../protocol/codec/instance-check.js';

/**
 * Makes the check that class-validator's decorators ask for, where it is installed. Rules that answer later, by a
 * promise, are passed over: a message is delivered in the turn in which it has come.
 *
 * @returns `undefined` where class-validator is not installed: then nobody can have used its decorators
 */
export async function loadClassValidatorCheck(): Promise<InstanceCheck | undefined> {
  const validator = await importOptional(() => import('class-validator'));
  if (validator === undefined) return undefined;
  const { getMetadataStorage, validateSync } = validator;
  const ruled = new WeakMap<Function, boolean>();
  const hasRules = (type: Function): boolean => {
    let has = ruled.get(type);
    if (has === undefined) {
      has = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false).length > 0;
      ruled.set(type, has);
    }
    return has;
  };
  return (instance, type) => {
    if (!hasRules(type)) return undefined;
    try {
      return firstProblem(validateSync(instance, { stopAtFirstError: true }));
    } catch (error) {
      // @ValidateNested() on a message that contains itself.
      return `its rules cannot be checked: ${(error as Error).message}`;
    }
  };
}

function firstProblem(errors: readonly ValidationError[]): string | undefined {
  const [first] = errors;
  if (first === undefined) return undefined;
  const own = Object.values(first.constraints ?? {})[0];
  return own ?? firstProblem(first.children ?? []) ?? `its property "${first.property}" is not valid`;
}
