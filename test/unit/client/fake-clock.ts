import type { Clock } from '../../../lib/client/clock.js';
import { Queue } from '../../support/queue.js';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** A clock that stands still until it is told otherwise. */
export class FakeClock implements Clock {
  /** The delay of each timer that was set. */
  readonly delays = new Queue<number>();
  /** What {@link random} gives. */
  chance = 0.5;
  private time = 1_000;
  /** What {@link now} is ahead of {@link uptime}. */
  private offset = 1_000_000;
  private readonly timers = new Set<Timer>();

  readonly now = (): number => this.time + this.offset;
  readonly uptime = (): number => this.time;
  readonly random = (): number => this.chance;

  readonly setTimeout = (run: () => void, ms: number): Timer => {
    const timer = { at: this.time + ms, run };
    this.timers.add(timer);
    this.delays.push(ms);
    return timer;
  };

  readonly clearTimeout = (timer: unknown): void => void this.timers.delete(timer as Timer);

  /** How many timers run. */
  get pending(): number {
    return this.timers.size;
  }

  /** Lets time pass; what is due runs in its order. */
  advance(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const [next] = [...this.timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
      if (!next) break;
      this.timers.delete(next);
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = end;
  }

  /** Lets time pass without the timers, as a suspended machine does. */
  sleep(ms: number): void {
    this.offset += ms;
  }

  /** Lets time pass before the timers that have become due go off, late and at once, as in a busy page. */
  oversleep(ms: number): void {
    this.time += ms;
    this.advance(0);
  }

  /** Sets the time of day back. */
  setBack(ms: number): void {
    this.offset -= ms;
  }
}
