import { AsyncResource } from 'node:async_hooks';
import type { Reporter } from '../core/reporter.js';

/** How much of a turn of the loop goes into clients that come. */
const BUDGET_MS = 8;

/** In the context of whoever asks for it (AsyncLocalStorage), not of the one that happened to come first. */
class Task extends AsyncResource {
  constructor(private readonly act: () => void) {
    super('nestjs-messaging:task');
  }

  run(): void {
    this.runInAsyncScope(this.act);
  }
}

/**
 * What is done for clients that come, in order: some of it in each turn of the loop, so that everything else goes on though
 * thousands of them come at once.
 */
export class WorkQueue {
  private tasks: Task[] = [];
  private next = 0;
  private isScheduled = false;
  private turnEnd = 0;

  /** Called when there is nothing more to do. */
  onEmpty: () => void = () => {};

  constructor(private readonly reporter: Reporter) {}

  /** Does it in a later turn of the loop, when those before it have been done. */
  add(task: () => void): void {
    this.tasks.push(new Task(task));
    if (this.isScheduled) return;
    this.isScheduled = true;
    setImmediate(this.work);
  }

  private readonly work = (): void => {
    this.turnEnd = performance.now() + BUDGET_MS;
    this.step();
  };

  private readonly step = (): void => {
    this.run(this.tasks[this.next++]!);
    if (this.next < this.tasks.length) {
      queueMicrotask(this.afterPromises);
      return;
    }
    this.tasks = [];
    this.next = 0;
    this.isScheduled = false;
    this.onEmpty();
  };

  // Node comes to its ticks when nothing is left to do for promises. What a task goes on with in those counts too: it is most of
  // what a client costs.
  private readonly afterPromises = (): void => process.nextTick(this.goOn);

  private readonly goOn = (): void => {
    if (performance.now() < this.turnEnd) this.step();
    else setImmediate(this.work);
  };

  private run(task: Task): void {
    try {
      task.run();
    } catch (error) {
      this.reporter.callbackFailed({ callback: 'What is done for a client that comes', error });
    }
  }
}
