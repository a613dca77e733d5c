import { AsyncResource } from 'node:async_hooks';
import type { Reporter } from '../core/reporter.js';

/** How many milliseconds of a turn of the event loop go to new clients. */
const BUDGET_MS = 8;

/** Runs in the context of its own caller (AsyncLocalStorage), not in that of the first one in the queue. */
class Task extends AsyncResource {
  constructor(private readonly act: () => void) {
    super('nestjs-messaging:task');
  }

  run(): void {
    this.runInAsyncScope(this.act);
  }
}

/**
 * Work for new clients, in order, spread over turns of the event loop, so that everything else continues even if thousands of them come at
 * once.
 */
export class WorkQueue {
  private tasks: Task[] = [];
  private next = 0;
  private isScheduled = false;
  private turnEnd = 0;

  /** Called when the queue is empty. */
  onEmpty: () => void = () => {};

  constructor(private readonly reporter: Reporter) {}

  /** Runs a task in a later turn of the event loop, after the earlier tasks. */
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

  // Node runs its ticks when no promise callbacks are left. The promise continuations of a task count too: they are most of a client's
  // cost.
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
