import { AsyncResource } from 'node:async_hooks';
import type { Reporter } from '../core/reporter.js';

/** How much of a turn of the loop goes into clients that come. */
const BUDGET_MS = 8;

/**
 * What is done for clients that come, in order: some of it in each turn of the loop, so that everything else goes on though
 * thousands of them come at once.
 */
export class WorkQueue {
  private tasks: (() => void)[] = [];
  private next = 0;
  private isScheduled = false;

  /** Called when there is nothing more to do. */
  onEmpty: () => void = () => {};

  constructor(private readonly reporter: Reporter) {}

  /** Does it in a later turn of the loop, when those before it have been done. */
  add(task: () => void): void {
    // In the context of whoever asks for it (AsyncLocalStorage), not of the one that happened to come first.
    this.tasks.push(AsyncResource.bind(task));
    if (this.isScheduled) return;
    this.isScheduled = true;
    setImmediate(this.work);
  }

  private readonly work = (): void => {
    const end = performance.now() + BUDGET_MS;
    while (this.next < this.tasks.length && performance.now() < end) this.run(this.tasks[this.next++]!);
    if (this.next < this.tasks.length) {
      setImmediate(this.work);
      return;
    }
    this.tasks = [];
    this.next = 0;
    this.isScheduled = false;
    this.onEmpty();
  };

  private run(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.reporter.callbackFailed({ callback: 'What is done for a client that comes', error });
    }
  }
}
