import type { MessagePath } from './message-path.js';
import type { ReadNote } from './note.js';

/** The instances of one message while it is read. */
export interface MessageInstances {
  /** Whether one identity came in several objects, so that a Set of them has fewer members than its data. */
  readonly hasMerged: boolean;
  /**
   * The object that every reference to an instance gets.
   *
   * @param fresh - its data, of which nothing is restored yet
   */
  resolve(type: Function, fresh: object, note: ReadNote, path: MessagePath): object;
  /** Takes what has been restored for what its instance is to become. */
  complete(instance: object, fresh: object): void;
  /** The whole message has been restored. Throws InvalidMessageError if it is nevertheless refused. */
  accept(): void;
}

/** Opens messages. A page has an identity map for it, a server the rules of its classes. */
export interface InstanceReader {
  begin(): MessageInstances;
}
