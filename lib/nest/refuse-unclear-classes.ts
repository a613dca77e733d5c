import { ConfigurationError } from '../protocol/errors.js';
import { declaredClasses, declaredNames } from '../protocol/declared-classes.js';
import { describePlace } from '../protocol/serializable.js';
import type { TypeRegistry } from '../protocol/type-registry.js';
import type { LoggingReporter } from './logging-reporter.js';

const REMEDY =
  'give them different names with @Serializable({ name: \'…\' }), or say which one this application means with the option "types" of MessagingModule';

/**
 * To be called when the classes of the application's channels are known.
 *
 * @throws ConfigurationError where two classes have one name and it is unclear which of them is meant
 */
export function refuseUnclearClasses(types: TypeRegistry, reporter: LoggingReporter): void {
  for (const name of declaredNames()) {
    const classes = types.known(name) !== undefined ? [] : declaredClasses(name, 'data');
    if (classes.length < 2) continue;
    const places = classes.map(describePlace);
    if (new Set(places).size > 1) {
      const declared = classes.map((type, index) => `${type.name} at ${places[index]}`).join(', ');
      throw new ConfigurationError(`Two message classes are called "${name}": ${declared}; ${REMEDY}`);
    }
    // Of code that was loaded anew the earlier class lives on until it is collected; no name could mend that.
    reporter.warn(
      `unclear class ${name}`,
      `${classes.length} message classes called "${name}" were declared at ${places[0]}; messages with that name are refused: ${REMEDY}`,
    );
  }
}
