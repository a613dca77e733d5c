import { Subject, isObservable, lastValueFrom, takeUntil } from 'rxjs';
import { isolateObservable } from '../core/isolated-observable.js';
import type { Reporter } from '../core/reporter.js';
import type { Session } from '../core/session.js';

/** Subscribes to the Observables that handlers return, as Nest does for `@EventPattern`, until the application closes. */
export class ObservableResults {
  private readonly closed = new Subject<void>();

  /** @param session - the one of the application: its end ends them all */
  constructor(
    session: Session,
    private readonly reporter: Reporter,
  ) {
    session.onClose(() => this.closed.next());
  }

  /** @returns a promise of the last value of an Observable, or of a promise of one; anything else as it is */
  settle(result: unknown): unknown {
    if (typeof result !== 'object' || result === null) return result;
    if (isObservable(result)) {
      const failed = (error: unknown) =>
        this.reporter.callbackFailed({ callback: 'The end of the Observable of an @OnMessage method', error });
      return lastValueFrom(isolateObservable(result, failed).pipe(takeUntil(this.closed)), { defaultValue: undefined });
    }
    return result instanceof Promise ? result.then((value: unknown) => this.settle(value)) : result;
  }
}
