/** The rules that classes declare for their instances. */
export interface InstanceCheck {
  /** Whether there are rules for instances of this class; for others nothing is asked. */
  appliesTo(type: Function): boolean;
  /**
   * Says what is wrong with an instance; `undefined` if it keeps the rules. Instances inside of it are checked by
   * themselves.
   *
   * @param mayStrip - whether properties that no rule knows may be taken away, if the rules say so: of what has arrived,
   *   and of nothing that somebody has posted
   */
  problemOf(instance: object, type: Function, mayStrip: boolean): string | undefined;
}
