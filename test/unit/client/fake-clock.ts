import type { Clock } from '../../../lib/client/clock.js';
import { Queue } from '../../support/queue.js';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** A clock that stands still until a test advances it. */
export class FakeClock implements Clock {
  /** The delay of each timer that was set. */
  readonly delays = new Queue<number>();
  /** The result of {@link random}. */
  chance = 0.5;
  private time = 1_000;
  /** How far {@link now} is ahead of {@link uptime}. */
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

  /** The number of running timers. */
  get pending(): number {
    return this.timers.size;
  }

  /** Lets time pass; due timers run in their order. */
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

  /** Lets time pass without the timers, as on a suspended machine. */
  sleep(ms: number): void {
    this.offset += ms;
  }

  /** Lets time pass before the due timers fire, late and at once, as in a busy page. */
  oversleep(ms: number): void {
    this.time += ms;
    this.advance(0);
  }

  /** Sets the time of day back. */
  setBack(ms: number): void {
    this.offset -= ms;
  }
}
