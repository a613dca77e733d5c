import { InvalidMessageError } from '../errors.js';
import type { InstanceCheck } from './instance-check.js';
import type { MessageInstances } from './message-instances.js';
import { pathText, type MessagePath } from './message-path.js';
import type { ReadNote } from './note.js';

/** Asks of each instance of one message that it keeps its rules. */
export class CheckedInstances implements MessageInstances {
  readonly hasMerged = false;
  private readonly instances: { instance: object; type: Function; path: string }[] = [];

  constructor(private readonly check: InstanceCheck) {}

  resolve(type: Function, instance: object, _note: ReadNote, path: MessagePath): object {
    if (this.check.appliesTo(type)) this.instances.push({ instance, type, path: pathText(path) });
    return instance;
  }

  complete(): void {}

  accept(): void {
    // Only now, since an instance may refer to what comes behind it.
    for (const { instance, type, path } of this.instances) {
      const problem = this.check.problemOf(instance, type, true);
      if (problem !== undefined) throw new InvalidMessageError(`${path}: ${problem}`);
    }
  }
}
