/** A property as it is to leave. */
export interface OutgoingProperty {
  /** Its name in the data. */
  readonly name: string;
  /** Its name in the instance, under which it arrives again. */
  readonly property: string;
  readonly value: unknown;
  /** The class whose rules hold for plain objects in this value, and in the Map, Set or array that it is. */
  readonly type?: Function | undefined;
}

/**
 * Decides what of an instance leaves the process. What it does not name is not even looked at. The protocol knows no
 * implementation: a browser needs none.
 */
export interface ClassFilter {
  /** Whether there are rules for instances of this class. */
  appliesTo(type: Function): boolean;
  /** Whether a property of instances of this class leaves. */
  letsOut(type: Function, property: string): boolean;
  /**
   * The parts of an object that are sent. Called only if {@link appliesTo} returned true.
   *
   * @param object - an instance of the class, or a plain object that stands for one
   * @param keys - the properties that leave, unless a rule keeps them
   * @throws FailedProperty with what the application's code threw
   */
  properties(object: object, type: Function, keys: readonly string[]): readonly OutgoingProperty[];
}

/** Says at which property the application's code failed, a getter or a rule; `cause` is what it threw. */
export class FailedProperty extends Error {
  constructor(
    readonly property: string,
    cause: unknown,
  ) {
    super(`property "${property}" failed`, { cause });
  }
}
