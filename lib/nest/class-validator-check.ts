import type { ValidationError, ValidatorOptions } from 'class-validator';
import { givenOptions } from '../protocol/check-options.js';
import type { ClassFilter } from '../protocol/codec/class-filter.js';
import type { InstanceCheck } from '../protocol/codec/instance-check.js';
import { ConfigurationError } from '../protocol/errors.js';
import { classOf } from '../protocol/class-of.js';
import { thrownText } from '../protocol/thrown.js';
import { importOptional } from './import-optional.js';
import { LateRules } from './late-rules.js';
import type { ClassValidatorOptions } from './messaging-options.js';

type Validator = typeof import('class-validator');

/**
 * Makes the check that class-validator's decorators ask for, if it is installed.
 *
 * @param options - as for a `ValidationPipe`
 * @param filter - decides what of an instance leaves: a rule of a property that does not is not checked
 * @returns `undefined` if class-validator is not installed: then nobody can have used its decorators
 * @throws ConfigurationError if there are options and nothing that they are for
 */
export async function loadClassValidatorCheck(
  options?: ClassValidatorOptions,
  filter?: ClassFilter,
): Promise<InstanceCheck | undefined> {
  const validator = await importOptional(() => import('class-validator'));
  if (validator !== undefined) return new ClassValidatorCheck(validator, options ?? {}, filter);
  if (options === undefined) return undefined;
  throw new ConfigurationError('MessagingModule: option "classValidator" needs class-validator; install it');
}

/**
 * Rules that answer later, by a promise, are passed over: a message is delivered in the turn in which it is posted or has
 * come.
 */
class ClassValidatorCheck implements InstanceCheck {
  private readonly ruled = new WeakMap<Function, boolean>();
  private readonly posted: ValidatorOptions;
  private readonly arrived: ValidatorOptions;
  private readonly late: LateRules;

  constructor(
    private readonly validator: Validator,
    private readonly options: ClassValidatorOptions,
    private readonly filter: ClassFilter | undefined,
  ) {
    this.late = LateRules.of(validator.getMetadataStorage());
    // As ValidationPipe has it: nested objects without rules are no error unless somebody says so.
    this.arrived = { forbidUnknownValues: false, ...givenOptions(options), stopAtFirstError: true };
    // Without `forbidNonWhitelisted` a whitelist takes properties away, from nested objects too.
    this.posted = { ...this.arrived, whitelist: options.forbidNonWhitelisted === true };
  }

  appliesTo(type: Function): boolean {
    let has = this.ruled.get(type);
    if (has === undefined) {
      const rules = this.validator.getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
      has = this.options.forbidUnknownValues === true || rules.length > 0;
      this.ruled.set(type, has);
    }
    return has;
  }

  problemOf(instance: object, type: Function, mayStrip: boolean): string | undefined {
    // class-validator finds the rules by it, and would find none.
    if (Object.hasOwn(instance, 'constructor')) return 'its property "constructor" hides the rules of its class';
    try {
      const options = mayStrip ? this.arrived : this.posted;
      return this.firstProblem(
        this.late.passedOver(() => this.validator.validateSync(instance, options)),
        type,
      );
    } catch (error) {
      // @ValidateNested() on a message that contains itself.
      return `its rules cannot be checked: ${thrownText(error)}`;
    }
  }

  private firstProblem(errors: readonly ValidationError[], type: Function | undefined): string | undefined {
    for (const error of errors) {
      if (type !== undefined && this.isHidden(type, error.property)) continue;
      const problem = this.problemIn(error);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  private problemIn({ property, constraints, children, value }: ValidationError): string | undefined {
    const [broken] = Object.entries(constraints ?? {});
    if (broken !== undefined) return `${broken[1]} (property "${property}", rule ${broken[0]})`;
    return this.firstProblem(
      children ?? [],
      typeof value === 'object' && value !== null ? classOf(value as object) : undefined,
    );
  }

  private isHidden(type: Function, property: string): boolean {
    return this.filter !== undefined && this.filter.appliesTo(type) && !this.filter.letsOut(type, property);
  }
}
