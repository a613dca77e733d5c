import type { MetadataStorage } from 'class-validator';
import { ignoreRejection, isThenable } from '../protocol/promises.js';

type Constraint = ReturnType<MetadataStorage['getTargetValidatorConstraints']>[number];
type Rule = Constraint['instance'];
type Condition = (object: unknown, value: unknown) => boolean;
type Use = ReturnType<MetadataStorage['getTargetValidationMetadatas']>[number];

const LATE_RULES = new WeakMap<MetadataStorage, LateRules>();

/**
 * Rules of class-validator that answer by a promise and do not say so, as those of `ValidateBy()` cannot:
 * `validateSync()` leaves their promise to nobody, and if it rejects, the process ends. Here they are passed over like
 * those that do say so. A promise in place of a message or a condition, which class-validator does not wait for either,
 * may reject without harm. Elsewhere, as in a `ValidationPipe`, nothing about them changes.
 */
export class LateRules {
  private readonly known = new WeakSet<Constraint | Use>();
  private isChecking = false;

  /** The applications of a process share the rules, and so what watches them. */
  static of(storage: MetadataStorage): LateRules {
    let rules = LATE_RULES.get(storage);
    if (rules === undefined) LATE_RULES.set(storage, (rules = new LateRules(storage)));
    return rules;
  }

  // Learns of each rule before it is first used.
  private constructor(storage: MetadataStorage) {
    const constraintsOf = storage.getTargetValidatorConstraints.bind(storage);
    storage.getTargetValidatorConstraints = (target) => {
      const constraints = constraintsOf(target);
      for (const constraint of constraints) this.watch(constraint);
      return constraints;
    };
    const usesOf = storage.getTargetValidationMetadatas.bind(storage);
    storage.getTargetValidationMetadatas = (...of) => {
      const uses = usesOf(...of);
      for (const use of uses) this.watchUse(use);
      return uses;
    };
  }

  /** Runs a check that does not wait for promises. */
  passedOver<T>(check: () => T): T {
    this.isChecking = true;
    try {
      return check();
    } finally {
      this.isChecking = false;
    }
  }

  private watch(constraint: Constraint): void {
    if (this.known.has(constraint)) return;
    this.known.add(constraint);
    const instanceOf = (): Rule =>
      Reflect.get(Object.getPrototypeOf(constraint) as object, 'instance', constraint) as Rule;
    const wrappers = new WeakMap<Rule, Rule>();
    const wrapperOf = (rule: Rule): Rule => {
      let wrapper = wrappers.get(rule);
      if (wrapper === undefined) wrappers.set(rule, (wrapper = this.wrap(rule)));
      return wrapper;
    };
    // A container may make a rule anew for each use.
    Object.defineProperty(constraint, 'instance', { get: () => wrapperOf(instanceOf()), configurable: true });
  }

  /** The functions in the options of a decorator, and the condition of `@ValidateIf()`. */
  private watchUse(use: Use): void {
    if (this.known.has(use)) return;
    this.known.add(use);
    const { message, validateIf, constraints } = use;
    if (typeof message === 'function') use.message = this.text(message);
    if (typeof validateIf === 'function') use.validateIf = this.condition(validateIf);
    // `ValidationTypes.CONDITIONAL_VALIDATION`
    if (use.type === 'conditionalValidation') {
      const [condition, ...rest] = constraints as [Condition, ...unknown[]];
      use.constraints = [this.condition(condition), ...rest];
    }
  }

  /** A promise counts as true, as it does elsewhere. */
  private condition(applies: Condition): Condition {
    return (object, value) => {
      const answer = applies(object, value);
      if (this.isChecking) ignoreRejection(answer);
      return answer;
    };
  }

  private text<Args extends unknown[]>(textOf: (...args: Args) => string): (...args: Args) => string {
    return (...args) => {
      const text: unknown = textOf(...args);
      if (!this.isChecking || !isThenable(text)) return text as string;
      ignoreRejection(text);
      return 'it breaks a rule whose message is a promise';
    };
  }

  private wrap(rule: Rule): Rule {
    return {
      validate: (value, context) => {
        const answer = rule.validate(value, context);
        if (!this.isChecking || !isThenable(answer)) return answer;
        Promise.resolve(answer).catch(() => {});
        return true;
      },
      ...(rule.defaultMessage && { defaultMessage: this.text((context) => rule.defaultMessage!(context)) }),
    };
  }
}
