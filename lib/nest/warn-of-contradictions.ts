import type { ChannelDefinitions } from '../core/channel-definitions.js';
import type { LoggingReporter } from './logging-reporter.js';

/**
 * Warns of channels that this process defines in different ways. To be called when the channels of the application's handlers are known, and
 * again after each lazy module.
 *
 * It is no error yet: the other definition may belong to another application of the process. Code that uses both gets the error.
 */
export function warnOfContradictions(definitions: ChannelDefinitions, reporter: LoggingReporter): void {
  for (const [name, text] of definitions.newContradictions()) reporter.warn(`contradiction ${name}`, text);
}
